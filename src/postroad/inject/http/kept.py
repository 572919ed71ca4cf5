"""The request of a job as the journal keeps it: with what it names, as that was when the request was accepted. So a
template, A/B test or recipient list may change or go while the job waits, and through a restart."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from postroad.generate import Site
from postroad.generate.template import Kind, Template
from postroad.inject.http.decode import Decoded, decode
from postroad.inject.http.shapes import InlineRecipient
from postroad.inject.http.stock import Absent, AccountOptions, Stock, StoredTemplate

_WITH_NAMED = b"\1"  # no JSON begins with it, so no client can write such a record


class Named(msgspec.Struct, frozen=True, array_like=True):
    """What a request named; None: nothing of this kind. template: that of an A/B test, too."""

    template: StoredTemplate | None = None
    recipients: list[str | InlineRecipient] | None = None


class Kept(NamedTuple):
    decoded: Decoded
    named: Named

    def over(self, stock: Stock) -> Stock:
        """`stock`, but what the request names is as it was."""
        return stock if self.named == Named() else _Over(stock, self.named)


class _Record(msgspec.Struct, frozen=True, array_like=True):
    request: bytes
    named: Named


def pack_request(request: bytes, named: Named) -> bytes:
    """request: JSON of the client. The octets that unpack_request() takes."""
    if named == Named():
        return request
    return _WITH_NAMED + msgspec.msgpack.encode(_Record(request, named))


def unpack_request(record: bytes) -> Kept:
    """Raises Failure and msgspec.DecodeError when the octets are not those of pack_request()."""
    if not record.startswith(_WITH_NAMED):
        return Kept(decode(record), Named())
    found = msgspec.msgpack.decode(memoryview(record)[len(_WITH_NAMED) :], type=_Record)
    return Kept(decode(found.request), found.named)


class _Over:
    """A Stock."""

    def __init__(self, stock: Stock, named: Named) -> None:
        self._stock = stock
        self._named = named

    def template(self, subaccount: int, identifier: str, *, draft: bool) -> StoredTemplate | Absent:
        return self._named.template or self._stock.template(subaccount, identifier, draft=draft)

    def snippet(self, subaccount: int, identifier: str, kind: Kind) -> Template | None:
        return self._stock.snippet(subaccount, identifier, kind)

    def ab_test(self, subaccount: int, identifier: str, recipient: str) -> str | None:
        template = self._named.template
        return self._stock.ab_test(subaccount, identifier, recipient) if template is None else template.id

    def recipients(self, subaccount: int, identifier: str) -> list[str | InlineRecipient] | None:
        recipients = self._named.recipients
        return self._stock.recipients(subaccount, identifier) if recipients is None else recipients

    def suppressed(self, subaccount: int, address: str, *, transactional: bool, now: float, list_id: str = "") -> bool:
        return self._stock.suppressed(subaccount, address, transactional=transactional, now=now, list_id=list_id)

    def site(self, subaccount: int, sending_domain: str) -> Site | None:
        return self._stock.site(subaccount, sending_domain)

    def tracking_domain(self, subaccount: int, domain: str) -> Site | None:
        return self._stock.tracking_domain(subaccount, domain)

    def account(self) -> AccountOptions:
        return self._stock.account()
