"""/suppression-list: who must not be sent to (api.md 8)."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from msgspec import Meta, Struct

from postroad.api.callers import Caller
from postroad.api.envelope import Refusal
from postroad.api.office import Office
from postroad.api.route import V1, Ask, Nothing, PlainAsk, Results, Route, Told
from postroad.api.suppressionrows import (
    MAX_DESCRIPTION,
    TYPES,
    EntryError,
    check_list_id,
    check_text,
    folded,
    is_list_id,
    is_transactional,
    moment,
    moment_text,
    types_of,
)
from postroad.inject.http import Code, Failure
from postroad.message.address import AddressError, routing_domain
from postroad.store.suppressionlist import (
    COMPLIANCE,
    SOURCES,
    CursorError,
    Search,
    Suppression,
    of_recipient,
    put,
    remove,
    search,
    summary,
)

MAX_ROWS = 10_000
_MAX_BODY = 50 << 20
_NAMED = 20  # recipients that a refusal names

_Type = Annotated[str, Meta(description="transactional, or non_transactional.")]
_ListId = Annotated[str, Meta(description="Only mail of this list (RFC 2919); absent or empty: all mail.")]
_Description = Annotated[str, Meta(max_length=MAX_DESCRIPTION, description="Why, in words.")]
_Expires = Annotated[str, Meta(description="When the entry ends (ISO 8601); absent: never.")]


class SuppressionEntry(Struct):
    """One recipient. A type, or one of the booleans, is needed."""

    recipient: Annotated[str, Meta(description="The address.")] | None = None
    email: Annotated[str, Meta(description="The same, as older clients call it.")] | None = None
    type: _Type | None = None
    transactional: Annotated[bool, Meta(description="From transactional mail; deprecated, use type.")] | None = None
    non_transactional: Annotated[bool, Meta(description="From other mail; deprecated, use type.")] | None = None
    description: _Description | None = None
    list_id: _ListId | None = None
    expires: _Expires | None = None


class SuppressionEntries(Struct):
    """Entries to make or to change."""

    recipients: Annotated[list[SuppressionEntry], Meta(min_length=1, max_length=MAX_ROWS)]


class SuppressionSearch(Struct, rename={"since": "from", "until": "to"}):
    """What to show."""

    since: Annotated[str, Meta(description="Changed at this time or later (ISO 8601).")] | None = None
    until: Annotated[str, Meta(description="Changed at this time or earlier; now.")] | None = None
    domain: Annotated[str, Meta(description="Of addresses.")] | None = None
    sources: Annotated[list[str], Meta(description=f"Of these: {', '.join(SOURCES)}.")] | None = None
    types: Annotated[list[str], Meta(description="transactional, non_transactional.")] | None = None
    description: Annotated[str, Meta(description="Any of these words stands in the description.")] | None = None
    description_strict: Annotated[bool, Meta(description="The description holds them as they are written.")] = False
    list_id: Annotated[str, Meta(description="Of this list; empty: of no list.")] | None = None
    cursor: Annotated[str, Meta(description="From links; the first page without one, or with initial.")] | None = None
    per_page: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    page: Annotated[int, Meta(ge=1, le=10_000)] = 1
    limit: Annotated[int, Meta(ge=1, le=10_000, description="Deprecated; use per_page.")] | None = None
    sort: Annotated[Literal["asc", "desc"], Meta(description="By the time of the last change.")] = "desc"


class SuppressionDeletion(Struct):
    """Which of the recipient's entries."""

    list_id: Annotated[str, Meta(description="Only that of this list; empty: only that of no list.")] | None = None


class SuppressionType(Struct):
    """Which of the recipient's entries."""

    type: _Type | None = None


class Evidence(Struct, omit_defaults=True):
    """What it was entered for."""

    event_id: str = ""
    reply: str = ""
    rule: str = ""


class SuppressionShown(Struct, omit_defaults=True):
    """An entry. One of the deprecated booleans is true: that of the type."""

    recipient: str
    type: str
    source: str
    created: str
    updated: str
    description: str | None = None
    list_id: str = ""
    transactional: bool | None = None
    non_transactional: bool | None = None
    subaccount_id: str = ""
    expires: str = ""
    evidence: Evidence | None = None


class Link(Struct):
    href: str
    rel: str


class SuppressionPage(Struct):
    results: list[SuppressionShown]
    links: list[Link]
    total_count: int


class SuppressionOf(Struct):
    results: list[SuppressionShown]


class SuppressionSummary(Struct):
    """How many entries, by source."""

    spam_complaint: int
    list_unsubscribe: int
    bounce_rule: int
    unsubscribe_link: int
    manually_added: int
    compliance: int
    total: int


def routes(office: Office) -> list[Route[Any, Any]]:
    def now() -> int:
        return round(office.clock.wall() * 1000)

    async def find(ask: Ask[Nothing, SuppressionSearch]) -> SuppressionPage:
        query = ask.query
        limit = query.per_page or query.limit or 1000
        wanted = search_of(query, ask.caller)
        cursor = "" if query.cursor in (None, "initial") else query.cursor or ""
        try:
            async with office.database.read() as connection:
                offset = 0 if query.cursor else (query.page - 1) * limit
                found = await search(connection, wanted, now(), limit=limit, cursor=cursor, offset=offset)
        except CursorError as error:
            raise Failure(Code.INVALID_PARAMS, str(error)) from None
        links = []
        if found.cursor:
            links = [Link(_href(query, limit, found.cursor), "next"), Link(_href(query, limit, "initial"), "first")]
        return SuppressionPage([_shown(row) for row in found.rows], links, found.total)

    async def count(ask: PlainAsk) -> Results[SuppressionSummary]:
        async with office.database.read() as connection:
            return Results(SuppressionSummary(**await summary(connection, ask.caller.only, now())))

    async def put_many(ask: Ask[SuppressionEntries, Nothing]) -> Results[Told]:
        rows = _rows(ask.body.recipients, ask.caller.subaccount, now())
        async with office.database.begin() as tx:
            await put(tx, rows, now())
        return Results(Told("Suppression List successfully updated"))

    async def put_one(ask: Ask[SuppressionEntry, Nothing]) -> Results[Told]:
        ask.body.recipient, ask.body.email = ask.path["recipient"], None
        rows = _rows([ask.body], ask.caller.subaccount, now())
        async with office.database.begin() as tx:
            if await put(tx, rows, now()) < len(rows):
                raise Refusal(403, "Recipient could not be updated - Compliance")
        return Results(Told("Suppression list successfully updated"))

    async def show(ask: PlainAsk) -> SuppressionOf:
        async with office.database.read() as connection:
            rows = await of_recipient(connection, ask.caller.only, _recipient(ask), now())
        if not rows:
            raise _none()
        return SuppressionOf([_shown(row) for row in rows])

    async def delete(ask: Ask[SuppressionType, SuppressionDeletion]) -> None:
        recipient, subaccount = _recipient(ask), ask.caller.subaccount
        try:
            kind = None if ask.body.type is None else is_transactional(ask.body.type)
            check_list_id(ask.query.list_id)
        except EntryError as error:
            raise Refusal(400, str(error)) from None
        async with office.database.begin() as tx:
            rows = [
                row
                for row in await of_recipient(tx, subaccount, recipient, now())
                if kind in (None, row.transactional) and ask.query.list_id in (None, row.list_id)
            ]
            if any(row.source == COMPLIANCE for row in rows):
                raise Refusal(403, "Recipient could not be removed - Compliance")
            if not rows:
                raise _none()
            await remove(tx, subaccount, recipient, transactional=kind, list_id=ask.query.list_id)

    none = {404: "The recipient has no entry."}
    return [
        Route(
            method="GET",
            path="/suppression-list",
            handler=find,
            summary="Search the suppression list",
            query=SuppressionSearch,
            answers=SuppressionPage,
            refuses=(Code.INVALID_PARAMS,),
        ),
        Route(
            method="GET",
            path="/suppression-list/summary",
            handler=count,
            summary="How many entries there are, by source",
            answers=Results[SuppressionSummary],
        ),
        Route(
            method="PUT",
            path="/suppression-list",
            handler=put_many,
            summary="Make or change entries",
            description="All of them or none. Entries for compliance are passed over.",
            body=SuppressionEntries,
            answers=Results[Told],
            max_body=_MAX_BODY,
            refuses_with={400: "An address, a type or a list id is none."},
            example={"recipients": [{"recipient": "ann@example.com", "type": "non_transactional"}]},
        ),
        Route(
            method="GET",
            path="/suppression-list/{recipient}",
            handler=show,
            summary="The entries of a recipient",
            answers=SuppressionOf,
            refuses_with=none,
        ),
        Route(
            method="PUT",
            path="/suppression-list/{recipient}",
            handler=put_one,
            summary="Make or change the entry of a recipient",
            body=SuppressionEntry,
            answers=Results[Told],
            refuses_with={400: "The address, the type or the list id is none.", 403: "It is there for compliance."},
            example={"type": "transactional", "description": "asked by phone"},
        ),
        Route(
            method="DELETE",
            path="/suppression-list/{recipient}",
            handler=delete,
            summary="Take a recipient from the list",
            query=SuppressionDeletion,
            body=SuppressionType,
            optional_body=True,
            answers=None,
            refuses_with={400: "The type or the list id is none.", 403: "It is there for compliance.", **none},
        ),
    ]


def _none() -> Refusal:
    return Refusal(404, "Recipient could not be found")


def _recipient(ask: Ask[Any, Any]) -> str:
    """Folded; what is no address has no entry."""
    try:
        return folded(ask.path["recipient"])
    except AddressError:
        raise _none() from None


def _rows(entries: list[SuppressionEntry], subaccount: int, now: int) -> list[Suppression]:
    """Raises Refusal, for all entries at once where addresses are wrong."""
    rows: list[Suppression] = []
    bad: list[str] = []
    for entry in entries:
        address = entry.recipient if entry.recipient is not None else entry.email
        try:
            recipient = folded(address or "")
        except AddressError:
            bad.append((address or "")[:320])
            continue
        try:
            types = types_of(entry.type, entry.transactional, entry.non_transactional)
            check_list_id(entry.list_id)
            check_text("description", entry.description or "")
            expires = None if entry.expires is None else moment("expires", entry.expires)
        except EntryError as error:
            raise Refusal(400, str(error)) from None
        if expires is not None and expires <= now:
            raise Refusal(400, "expires must be in the future")
        rows += [
            Suppression(
                subaccount, recipient, kind, entry.list_id or "", description=entry.description or "", expires=expires
            )
            for kind in types
        ]
    if bad:
        named = ", ".join(bad[:_NAMED]) + (", ..." if len(bad) > _NAMED else "")
        raise Refusal(400, f"PUT body contains {len(bad)} invalid or malformed recipient(s): {named}")
    return rows


def search_of(query: SuppressionSearch, caller: Caller) -> Search:
    for source in query.sources or ():
        if source not in SOURCES:
            raise Failure(Code.INVALID_PARAMS, f"sources must be of: {', '.join(SOURCES)}")
    for kind in query.types or ():
        if kind not in TYPES:
            raise Failure(Code.INVALID_PARAMS, "types must be of: transactional, non_transactional")
    if query.list_id and not is_list_id(query.list_id):
        raise Failure(Code.INVALID_PARAMS, "list_id is invalid")
    kinds = set(query.types or TYPES)
    text = query.description or ""
    return Search(
        caller.only,
        since=None if query.since is None else _moment("from", query.since),
        until=None if query.until is None else _moment("to", query.until),
        domain=_domain(query.domain) if query.domain else "",
        sources=query.sources or (),
        transactional=None if len(kinds) == 2 else kinds == {"transactional"},
        words=() if query.description_strict else text.split(),
        phrase=text if query.description_strict else "",
        list_id=query.list_id,
        ascending=query.sort == "asc",
    )


def _domain(name: str) -> str:
    try:
        return routing_domain(name)
    except AddressError:
        raise Failure(Code.INVALID_PARAMS, f"domain {name[:64]!r} is none") from None


def _moment(name: str, text: str) -> int:
    try:
        return moment(name, text)
    except EntryError as error:
        raise Failure(Code.INVALID_PARAMS, str(error)) from None


def _shown(row: Suppression) -> SuppressionShown:
    return SuppressionShown(
        row.recipient,
        TYPES[0] if row.transactional else TYPES[1],
        row.source,
        moment_text(row.created),
        moment_text(row.updated),
        row.description or None,
        row.list_id,
        transactional=row.transactional or None,
        non_transactional=(not row.transactional) or None,
        subaccount_id=str(row.subaccount) if row.subaccount else "",
        expires="" if row.expires is None else moment_text(row.expires),
        evidence=Evidence(**row.evidence) if row.evidence else None,
    )


def _href(query: SuppressionSearch, limit: int, cursor: str) -> str:
    given = {
        "from": query.since,
        "to": query.until,
        "domain": query.domain,
        "sources": ",".join(query.sources or ()),
        "types": ",".join(query.types or ()),
        "description": query.description,
        "description_strict": "true" if query.description_strict else None,
        "sort": query.sort if query.sort != "desc" else None,
    }
    kept = {name: value for name, value in given.items() if value}
    if query.list_id is not None:
        kept["list_id"] = query.list_id
    return f"{V1}/suppression-list?{urlencode({'cursor': cursor, 'per_page': limit, **kept})}"
