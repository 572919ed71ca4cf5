"""What transmissions name, found in an engine's catalog (inject.http.stock.Stock): no SQL, and each object is decoded
and compiled once as long as it is the same.

An account finds its own objects, and of templates and snippets those that the primary account shares (api.md 1.9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog

from postroad.api.callers import PRIMARY
from postroad.generate import Site
from postroad.generate.template import AMP, HTML, TEXT, Kind, Template, TemplateSyntaxError
from postroad.generate.template import snippet as compile_snippet
from postroad.inject.http.shapes import InlineRecipient, Tracking, TransmissionContent
from postroad.inject.http.stock import DEFAULTS, Absent, AccountOptions, Nothing, StoredTemplate
from postroad.store.catalog import Catalog
from postroad.store.seen import AB_TEST, ACCOUNT, RECIPIENT_LIST, SNIPPET, TEMPLATE, Plan
from postroad.store.suppressions import fold

log = structlog.get_logger()
_KEPT = 256  # objects of a kind that stay decoded
_KEPT_SIZE = 16 << 20  # octets of their packed values
_PARTS = {Kind.HTML: HTML, Kind.TEXT: TEXT, Kind.AMP: AMP}
T = TypeVar("T")


class _Version(msgspec.Struct, frozen=True):
    version: int
    content: TransmissionContent
    options: dict[str, bool]


class _TemplateSeen(msgspec.Struct, frozen=True):
    shared: bool
    draft: _Version | None
    published: _Version | None


class _SnippetSeen(msgspec.Struct, frozen=True):
    shared: bool
    content: dict[str, str]


class _ListSeen(msgspec.Struct, frozen=True):
    recipients: list[str | InlineRecipient]


class Sites(Protocol):
    """As in inject.http.stock.Stock."""

    def site(self, subaccount: int, sending_domain: str) -> Site | None: ...

    def tracking_domain(self, subaccount: int, domain: str) -> Site | None: ...


class _Decoded(Generic[T]):
    """Values made of packed ones. A packed value is the same object as long as nobody changed it."""

    def __init__(self, make: Callable[[bytes], T]) -> None:
        self._make = make
        self._kept: dict[tuple[int, str], tuple[bytes, T]] = {}
        self._size = 0

    def get(self, key: tuple[int, str], packed: bytes) -> T:
        known = self._kept.get(key)
        if known is not None and known[0] is packed:
            return known[1]
        made = self._make(packed)
        if known is not None:
            self._size -= len(known[0])
            del self._kept[key]
        while self._kept and (len(self._kept) >= _KEPT or self._size + len(packed) > _KEPT_SIZE):
            self._size -= len(self._kept.pop(next(iter(self._kept)))[0])
        self._kept[key] = packed, made
        self._size += len(packed)
        return made


class _Snippet:
    """Compiled part by part, as they are asked for."""

    def __init__(self, packed: bytes) -> None:
        self.seen = msgspec.msgpack.decode(packed, type=_SnippetSeen)
        self.shared = self.seen.shared
        self._compiled: dict[Kind, Template | None] = {}

    def part(self, kind: Kind) -> Template | None:
        if kind not in self._compiled:
            self._compiled[kind] = self._compile(kind)
        return self._compiled[kind]

    def _compile(self, kind: Kind) -> Template | None:
        part = _PARTS.get(kind, TEXT)
        source = self.seen.content.get(part.name)
        try:
            return None if source is None else compile_snippet(source, part)
        except TemplateSyntaxError:  # it was checked when it was saved, by another version of the language
            return None


def _template(packed: bytes) -> _TemplateSeen:
    return msgspec.msgpack.decode(packed, type=_TemplateSeen)


def _account(packed: bytes) -> AccountOptions:
    return msgspec.msgpack.decode(packed, type=AccountOptions)


def _plan(packed: bytes) -> Plan:
    return msgspec.msgpack.decode(packed, type=Plan)


class CatalogStock:
    """sites: tracking domains. wall: seconds since 1970."""

    def __init__(self, catalog: Catalog, wall: Callable[[], float], sites: Sites | None = None) -> None:
        self._catalog = catalog
        self._wall = wall
        self._sites: Sites = Nothing() if sites is None else sites
        self._templates = _Decoded(_template)
        self._snippets = _Decoded(_Snippet)
        self._plans = _Decoded(_plan)
        self._accounts = _Decoded(_account)

    def template(self, subaccount: int, identifier: str, *, draft: bool) -> StoredTemplate | Absent:
        found = self._visible(TEMPLATE, self._templates, subaccount, identifier)
        if found is None:
            return Absent.UNKNOWN
        version: _Version | None = found.draft if draft else found.published
        if version is None:
            return Absent.NO_DRAFT if draft else Absent.NO_PUBLISHED
        options = version.options
        tracking = Tracking(open_tracking=options.get("open_tracking"), click_tracking=options.get("click_tracking"))
        return StoredTemplate(identifier, version.version, version.content, tracking, options.get("transactional"))

    def snippet(self, subaccount: int, identifier: str, kind: Kind) -> Template | None:
        found = self._visible(SNIPPET, self._snippets, subaccount, identifier)
        return None if found is None else found.part(kind)

    def ab_test(self, subaccount: int, identifier: str, recipient: str) -> str | None:
        packed = self._catalog.values(AB_TEST).packed(subaccount, identifier)
        if packed is None:
            return None
        return self._plans.get((subaccount, identifier), packed).chosen(recipient, round(self._wall() * 1000))

    def recipients(self, subaccount: int, identifier: str) -> list[str | InlineRecipient] | None:
        """Reads the file beside the catalog, a list of 100,000 in some tenths of a second."""
        try:
            packed = self._catalog.placed(RECIPIENT_LIST).packed(subaccount, identifier)
        except OSError as error:
            log.warning("alarm", alarm="catalog", text=f"recipient list {identifier[:64]!r} can't be read: {error}")
            return None
        return None if packed is None else msgspec.msgpack.decode(packed, type=_ListSeen).recipients

    def suppressed(self, subaccount: int, address: str, *, transactional: bool, now: float, list_id: str = "") -> bool:
        return self._catalog.suppressions.suppressed(
            subaccount, fold(address), transactional=transactional, now=now, list_id=list_id
        )

    def site(self, subaccount: int, sending_domain: str) -> Site | None:
        return self._sites.site(subaccount, sending_domain)

    def tracking_domain(self, subaccount: int, domain: str) -> Site | None:
        return self._sites.tracking_domain(subaccount, domain)

    def account(self) -> AccountOptions:
        packed = self._catalog.values(ACCOUNT).packed(PRIMARY, "")
        return DEFAULTS if packed is None else self._accounts.get((PRIMARY, ""), packed)

    def _visible(self, kind: str, decoded: _Decoded[Any], subaccount: int, identifier: str) -> Any:
        """Its own, else what the primary account shares."""
        values = self._catalog.values(kind)
        packed = values.packed(subaccount, identifier)
        if packed is not None:
            return decoded.get((subaccount, identifier), packed)
        if subaccount == PRIMARY:
            return None
        packed = values.packed(PRIMARY, identifier)
        found = None if packed is None else decoded.get((PRIMARY, identifier), packed)
        return found if found is not None and found.shared else None
