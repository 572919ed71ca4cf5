"""Keys of sending domains as an engine's catalog has them (policy.signing.DomainKeys): no SQL, and each key is unsealed
once as long as it is the same."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from postroad.api.callers import PRIMARY
from postroad.auth.dkim import SealError, Signer, read_secret, unseal
from postroad.store.catalog import Catalog
from postroad.store.seen import SENDING_DOMAIN

log = structlog.get_logger()
_KEPT = 10_000  # domains whose signer is kept


class _Seen(msgspec.Struct, frozen=True):
    """domain: the d= of signatures. key: sealed."""

    shared: bool
    selector: str
    domain: str
    key: str


class CatalogDomainKeys:
    """secret: the file that control made when it sealed the first key."""

    def __init__(self, catalog: Catalog, secret: Path) -> None:
        self._catalog = catalog
        self._path = secret
        self._secret = b""
        # (packed value, shared, signer); a packed value is the same object as long as nobody changed it.
        self._made: dict[tuple[int, str], tuple[bytes, bool, Signer | None]] = {}

    def __bool__(self) -> bool:
        return len(self._catalog.values(SENDING_DOMAIN)) > 0

    def signer(self, domain: str, subaccount: int) -> Signer | None:
        """The account's own domain, else one that the primary account shares."""
        found = self._find(subaccount, domain)
        if found is None and subaccount != PRIMARY:
            found = self._find(PRIMARY, domain)
            if found is not None and not found[1]:
                return None
        return None if found is None else found[2]

    def _find(self, subaccount: int, domain: str) -> tuple[bytes, bool, Signer | None] | None:
        packed = self._catalog.values(SENDING_DOMAIN).packed(subaccount, domain)
        if packed is None:
            return None
        known = self._made.get((subaccount, domain))
        if known is not None and known[0] is packed:
            return known
        while len(self._made) >= _KEPT:
            del self._made[next(iter(self._made))]
        seen = msgspec.msgpack.decode(packed, type=_Seen)
        made = self._made[subaccount, domain] = packed, seen.shared, self._unsealed(seen)
        return made

    def _unsealed(self, seen: _Seen) -> Signer | None:
        try:
            if not self._secret:
                self._secret = read_secret(self._path)
            return Signer([unseal(seen.key, seen.domain, seen.selector, self._secret)])
        except SealError as error:
            log.warning("alarm", alarm="dkim_key", text=f"mail of {seen.domain} goes out unsigned: {error}")
            return None
