"""Where the content of a transmission comes from (api.md 2.5): the request, a template, or an A/B test."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from postroad.generate import Draft, Raw
from postroad.inject.http.content import given_members, prepare
from postroad.inject.http.faults import Code, Faults
from postroad.inject.http.shapes import InlineRecipient, Options, Override, Tracking, Transmission, TransmissionContent
from postroad.inject.http.stock import Absent, Stock, StoredTemplate

# Content that stays compiled, by number and by octets: programs send the same template again and again.
_KEPT = 128
_KEPT_SIZE = 1 << 24
_MAX_KEPT = 1 << 18

_encode = msgspec.json.Encoder().encode


class Source(NamedTuple):
    """template_id and version as events name them; "": inline. options: of the template, where it has any. stored: the
    template; None: inline."""

    content: Draft | Raw
    template_id: str = ""
    version: str = "0"
    ab_test: str = ""
    options: Tracking | None = None
    transactional: bool | None = None
    amp: bool = False
    stored: StoredTemplate | None = None


class _Drafts:
    def __init__(self) -> None:
        self._kept: dict[bytes, Draft | Raw] = {}
        self._size = 0

    def get(self, key: bytes) -> Draft | Raw | None:
        return self._kept.get(key)

    def keep(self, key: bytes, made: Draft | Raw) -> None:
        if len(made) > _MAX_KEPT:
            return
        while self._kept and (len(self._kept) >= _KEPT or self._size + len(made) > _KEPT_SIZE):
            self._size -= len(self._kept.pop(next(iter(self._kept))))
        self._kept[key] = made
        self._size += len(made)


_drafts = _Drafts()


def find_source(
    transmission: Transmission,
    stock: Stock,
    subaccount: int,
    entries: list[str | InlineRecipient],
    boundary: Callable[[], str],
    faults: Faults,
) -> Source | None:
    """None: faults were added."""
    content = transmission.content
    if content is None:
        faults.add(Code.MISSING_FIELD, "content object or template_id required")
        return None
    options = transmission.options or Options()
    override = transmission.override or Override()
    substitute = options.perform_substitutions is not False
    stored: StoredTemplate | None = None
    test = ""
    identifier = content.template_id
    if content.ab_test_id is not None:
        if identifier is not None or given_members(content) or content.email_rfc822 is not None:
            faults.add(Code.INVALID_COMBINATION, "content.ab_test_id can not be combined with other content")
            return None
        test = content.ab_test_id
        if len(entries) > 1:
            faults.add(Code.INVALID_COMBINATION, "content.ab_test_id takes one recipient")
            return None
        identifier = stock.ab_test(subaccount, test, _email(entries[0])) if entries else None
        if identifier is None:
            faults.add(Code.NO_SUBRESOURCE, f"ab_test_id '{test[:64]}' does not exist")
            return None
    elif identifier is not None and ({"subject", "text", "html"} & set(given_members(content)) or content.email_rfc822):
        faults.add(Code.INVALID_COMBINATION, "Both content object and template_id are specified")
        return None
    if identifier is not None:
        found = _stored(stock, subaccount, identifier, bool(content.use_draft_template), faults)
        if found is None:
            return None
        stored, content = found, found.content
        if not substitute:
            faults.add(Code.INVALID_COMBINATION, "options.perform_substitutions can be false with inline content only")
            return None
    made = _prepared(content, substitute, bool(options.inline_css), override, boundary, faults)
    if made is None:
        return None
    amp = content.amp_html is not None
    if stored is None:
        return Source(made, amp=amp)
    return Source(made, stored.id, str(stored.version), test, stored.options, stored.transactional, amp, stored)


def _email(entry: str | InlineRecipient) -> str:
    address = entry if isinstance(entry, str) else entry.address
    return address if isinstance(address, str) else (address.email or "" if address is not None else "")


def _stored(stock: Stock, subaccount: int, identifier: str, draft: bool, faults: Faults) -> StoredTemplate | None:
    found = stock.template(subaccount, identifier, draft=draft)
    match found:
        case Absent.UNKNOWN:
            faults.add(Code.NO_SUBRESOURCE, f"template '{identifier[:64]}' does not exist")
        case Absent.NO_DRAFT:
            faults.add(Code.NO_DRAFT, f"template '{identifier[:64]}' has no draft version")
        case Absent.NO_PUBLISHED:
            faults.add(Code.NO_PUBLISHED, f"template '{identifier[:64]}' has no published version")
        case StoredTemplate():
            return found
    return None


def _prepared(
    content: TransmissionContent,
    substitute: bool,
    css: bool,
    override: Override,
    boundary: Callable[[], str],
    faults: Faults,
) -> Draft | Raw | None:
    key = b""
    if not (content.attachments or content.inline_images):
        key = blake2b(_encode((content, substitute, css, override)), digest_size=32).digest()
        kept = _drafts.get(key)
        if kept is not None:
            return kept
    made = prepare(content, substitute=substitute, css=css, override=override, boundary=boundary, faults=faults)
    if made is not None and key:
        _drafts.keep(key, made)
    return made
