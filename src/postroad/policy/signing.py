"""DKIM signatures on what goes out: an Acceptor behind the hooks, so that nothing changes a message after it is signed,
and before the journal, so that all recipients of a body share its signatures. The queue's own mail passes it too.

The domain of the From field signs, else the nearest domain above it that has a key: DMARC's relaxed alignment holds for
both. Ed25519 takes less time than a hand-over to a thread; RSA is done in threads, where it leaves the interpreter.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import NamedTuple, Protocol

from postroad.auth.author import author_domains, to_ascii
from postroad.auth.dkim import Algorithm, PrivateKey, Signer, Slot, signing, unseal
from postroad.config.schema import DkimOptions
from postroad.message import Accepted, Acceptor, Body, Refused, Rejection, Reply, Transaction
from postroad.message.header import field as header_field

Done = Callable[[Accepted | Refused], None]
Keep = Callable[[Transaction, Done], None]

_THREADS = 2
_CACHED = 10_000  # domains without a key of their own that are remembered
# How nearly all messages are written; the rest is read with more care.
_PLAIN_FROM = re.compile(rb'[^"(),:;<>@\\]*<[^<>@"\s]+@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)>\s*')


class SigningError(ValueError):
    """A key can't be used. The message names it, and holds nothing secret."""


class HeldKey(NamedTuple):
    """A key with its time."""

    slot: Slot
    key: PrivateKey


class KeyRing:
    """The keys of one generation of the configuration. wall(): Unix seconds."""

    def __init__(self, keys: Iterable[HeldKey], wall: Callable[[], float], *, lifetime: float = 0) -> None:
        self._wall = wall
        self._lifetime = int(lifetime)
        self._keys: dict[str, list[HeldKey]] = {}
        for held in keys:
            self._keys.setdefault(held.slot.domain, []).append(held)
        self._signers: dict[str, Signer | None] = {}
        self._until = -inf  # when another key's time begins or ends

    def __bool__(self) -> bool:
        return bool(self._keys)

    def signer(self, domain: str) -> Signer | None:
        """Who signs for this From domain now."""
        now = self._wall()
        if now >= self._until or len(self._signers) > _CACHED:
            self._signers.clear()
            moments = (m for held in self._keys.values() for k in held for m in k.slot[3:5] if m is not None)
            self._until = min((moment for moment in moments if moment > now), default=inf)
        if domain in self._signers:
            return self._signers[domain]
        found = None
        name = domain
        while name and found is None:
            found = self._made(name, now)
            name = name.partition(".")[2]
        self._signers[domain] = found
        return found

    def _made(self, domain: str, now: float) -> Signer | None:
        held = self._keys.get(domain, [])
        slots = signing([one.slot for one in held], domain, now)
        keys = [next(one.key for one in held if one.slot is slot) for slot in slots]
        return Signer(keys, lifetime=self._lifetime) if keys else None


def load_keys(options: Sequence[DkimOptions], folder: Path, wall: Callable[[], float]) -> KeyRing:
    """folder: what relative files are relative to. Raises SigningError."""
    held = []
    for one in options:
        name = f"dkim {one.selector}._domainkey.{one.domain}"
        try:
            domain = to_ascii(one.domain)
            if not domain:
                raise ValueError(f"{one.domain!r} is no domain name")
            text = (folder / one.key).read_bytes()
            if text.lstrip().startswith(b"-----BEGIN"):
                key = PrivateKey.from_pem(domain, one.selector, text)
            else:
                secret = bytes.fromhex((folder / one.secret).read_text().strip())
                key = unseal(text.decode(), domain, one.selector, secret)
            slot = Slot(domain, one.selector, key.algorithm, _moment(one.active_from), _moment(one.active_until))
        except OSError as error:
            raise SigningError(f"{name}: {error.strerror}: {error.filename}") from error
        except ValueError as error:  # none of these texts holds what the files hold
            raise SigningError(f"{name}: {error}") from None
        held.append(HeldKey(slot, key))
    return KeyRing(held, wall)


def _moment(text: str) -> float | None:
    """Unix seconds; UTC where the text names no zone. Raises ValueError."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'{text!r} is no moment, as "2026-12-01" or "2026-12-01T06:00:00Z" are') from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


class DomainKeys(Protocol):
    """Keys of sending domains that accounts have stored. False as long as there is none."""

    def __bool__(self) -> bool: ...

    def signer(self, domain: str, subaccount: int) -> Signer | None:
        """Who signs for mail of this account from exactly this domain. At once, from memory; never raises."""


class Signing:
    """ring(): the keys of the present generation. stored: those that accounts keep by the API, which come first: each
    signs for its account's mail alone. Messages that can't be signed go out without."""

    def __init__(
        self,
        acceptor: Acceptor,
        ring: Callable[[], KeyRing],
        wall: Callable[[], float],
        stored: DomainKeys | None = None,
    ) -> None:
        self._acceptor = acceptor
        self._ring = ring
        self._wall = wall
        self._stored = stored
        self._threads: ThreadPoolExecutor | None = None
        self._in_threads: set[asyncio.Future[bytes]] = set()
        self.signed = 0
        self.unsigned = 0  # for which there was no key, or no author

    def refusal(self) -> Reply | None:
        return self._acceptor.refusal()

    def rejected(self, rejection: Rejection) -> None:
        self._acceptor.rejected(rejection)

    def accept(self, transaction: Transaction, done: Done) -> None:
        self._sign(transaction, done, self._acceptor.accept)

    def own_mail(self, keep: Keep) -> Keep:
        """Notifications that the queue writes itself are signed as well, on their way to `keep`. No hook sees them."""

        def signed(transaction: Transaction, done: Done) -> None:
            body = transaction.body

            def kept(result: Accepted | Refused) -> None:
                if isinstance(result, Refused):
                    transaction.body = body  # it comes again, and must not gather signatures
                done(result)

            self._sign(transaction, kept, keep)

        return signed

    def _sign(self, transaction: Transaction, done: Done, keep: Keep) -> None:
        ring = self._ring()
        stored = self._stored
        if not ring and not stored:
            keep(transaction, done)
            return
        domain = from_domain(transaction.body.content)
        signer = None
        if domain and stored:
            signer = stored.signer(domain, int(transaction.connection.get("subaccount_id", "0")))
        if domain and signer is None:
            signer = ring.signer(domain)
        if signer is None:
            self.unsigned += 1
            keep(transaction, done)
        elif any(key.algorithm is Algorithm.RSA for key in signer.keys):
            self._in_thread(signer, transaction, done, keep)
        else:
            self._signed(transaction, _fields(signer, transaction.body, self._wall()), done, keep)

    def _in_thread(self, signer: Signer, transaction: Transaction, done: Done, keep: Keep) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "dkim")
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, _fields, signer, transaction.body, self._wall())
        self._in_threads.add(future)

        def made(future: asyncio.Future[bytes]) -> None:
            self._in_threads.discard(future)
            self._signed(transaction, future.result(), done, keep)

        future.add_done_callback(made)

    def _signed(self, transaction: Transaction, fields: bytes, done: Done, keep: Keep) -> None:
        if fields:
            body = transaction.body
            transaction.body = Body(body.content, fields + body.trace, dotted=body.dotted)
            self.signed += 1
        else:
            self.unsigned += 1
        keep(transaction, done)

    async def settled(self) -> None:
        """What is being signed has gone on."""
        while self._in_threads:
            await asyncio.wait(self._in_threads)

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False)


def _fields(signer: Signer, body: Body, now: float) -> bytes:
    """The fields to put in front; none when the message can't be signed."""
    try:
        return signer.sign(body.content, now=now, trace=body.trace)
    except ValueError:
        return b""


def from_domain(content: bytes) -> str:
    """Of the author, as an A-label in lower case; "" when there is none, or more than one."""
    value = header_field(content, b"From")
    if value is None:
        return ""
    plain = _PLAIN_FROM.fullmatch(value)
    if plain is not None:
        return plain[1].decode("ascii").lower()
    found = author_domains(value)
    return found[0] if len(found) == 1 else ""
