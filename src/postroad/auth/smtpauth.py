"""Who may log in over SMTP: users of the configuration, and API keys under the name SMTP_Injection (api.md 18.1)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from postroad.auth.keys import ApiKeys, Key
from postroad.auth.scram import ITERATIONS, Verifier, matches, parse_verifier, prepared
from postroad.config.schema import SmtpUser

KEY_USER = "smtp_injection"  # any case; what follows a colon chooses among subaccounts
_CHOSEN = re.compile(r"X-MSYS-SUBACCOUNT=([0-9]{1,9})", re.IGNORECASE)
_KNOWN = 4096  # logins remembered, so that a client's next connection costs no hashing


class Account(NamedTuple):
    """Whom a login showed the client to be. senders: addresses and @domains it may use in MAIL FROM; empty: any.
    subaccount: whose mail it is; 0 is the primary account."""

    name: str
    senders: tuple[str, ...] = ()
    relay: bool = True
    subaccount: int = 0

    def may_send_as(self, address: str, domain: str) -> bool:
        """address: "" is the null reverse-path, which is for hosts, not for users with a list of senders."""
        if not self.senders:
            return True
        lower = address.lower()
        return any(lower == sender or (sender.startswith("@") and domain == sender[1:]) for sender in self.senders)


class SmtpUsers:
    """One generation of users. active(subaccount): may mail be sent for it? Raises ValueError on a password hash that
    is none, naming the user."""

    def __init__(
        self,
        users: Iterable[SmtpUser] = (),
        keys: ApiKeys | None = None,
        active: Callable[[int | None], bool] = lambda _: True,
    ) -> None:
        self._active = active
        self._accounts: dict[str, Account] = {}
        self._verifiers: dict[str, Verifier] = {}
        for user in users:
            name = prepared(user.name)
            try:
                self._verifiers[name] = parse_verifier(user.password)
            except ValueError as error:
                raise ValueError(f"the password of SMTP user {user.name!r} {error}") from None
            self._accounts[name] = Account(name, tuple(sender.lower() for sender in user.senders), user.relay)
        self._keys = keys
        self._pepper = secrets.token_bytes(32)
        self._known: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._accounts) + (len(self._keys) if self._keys is not None else 0)

    def account(self, user: str) -> Account | None:
        """Of a user that has proven to be so by SCRAM."""
        return self._accounts.get(user)

    def verifier(self, user: str) -> Verifier:
        """For SCRAM. For a user that is not there one that no password fits, the same each time."""
        found = self._verifiers.get(user)
        if found is not None:
            return found
        fake = hmac.digest(self._pepper, user.encode(), "sha512")
        return Verifier(ITERATIONS, fake[:16], fake[16:48], hmac.digest(self._pepper, fake, "sha256"))

    def quickly(self, user: str, secret: str, peer: str, *, token: bool = False) -> Account | Literal[False] | None:
        """The account, or False when this is nobody, without slow hashing. None: ask `slowly`."""
        name, _, chosen = user.partition(":")
        if name.lower() == KEY_USER:
            return self._by_key(secret, peer, chosen) or False
        if token:
            return self._by_key(secret, peer) or False
        user = prepared(user)
        return self._accounts.get(user) if self._mark(user, secret) in self._known else None

    def slowly(self, user: str, secret: str) -> Account | None:
        """Takes milliseconds, whoever the user is: not on the event loop. Safe in threads."""
        user = prepared(user)
        account = self._accounts.get(user)
        if not matches(self.verifier(user), secret) or account is None:
            return None
        self._known[self._mark(user, secret)] = None
        if len(self._known) > _KNOWN:
            self._known.clear()
        return account

    def _by_key(self, secret: str, peer: str, chosen: str = "") -> Account | None:
        """chosen: what the user name says of a subaccount; a key that has one acts for no other (api.md 1.9)."""
        if self._keys is None or " " in secret:
            return None
        key = self._keys.authenticate(secret.encode(), peer)
        if not isinstance(key, Key) or not key.may("smtp") or not self._active(key.subaccount):
            return None
        subaccount = key.subaccount or 0
        if chosen:
            found = _CHOSEN.fullmatch(chosen)
            if found is None or subaccount not in (0, int(found[1])) or not self._active(int(found[1])):
                return None
            subaccount = int(found[1])
        return Account(key.label, subaccount=subaccount)

    def _mark(self, user: str, secret: str) -> bytes:
        """Stands for a login that was right, in memory only, and of no use outside this process."""
        return hmac.digest(self._pepper, hashlib.sha256(user.encode()).digest() + secret.encode(), "sha256")
