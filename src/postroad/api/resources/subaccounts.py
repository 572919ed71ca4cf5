"""/subaccounts: accounts below the primary one, each with objects of its own (api.md 20.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlencode

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from postroad.api.callers import Caller
from postroad.api.envelope import Refusal
from postroad.api.grants import ALL, FAMILIES
from postroad.api.office import Office
from postroad.api.route import V1, Ask, Nothing, PlainAsk, Results, Route, Told
from postroad.inject.http import Code, Failure
from postroad.store.keys import checked_networks, create_key
from postroad.store.subaccounts import (
    STATUSES,
    Listing,
    Subaccount,
    count_subaccounts,
    create_subaccount,
    list_subaccounts,
    read_subaccount,
    update_subaccount,
)

# What a subaccount's key may be given: nothing that belongs to the primary account alone.
GRANTS = sorted(
    {word for family, pair in FAMILIES.items() if family not in ("account", "usage", "subaccounts") for word in pair}
    | {"smtp/inject"}
)
_MOST_NAME = 64
_MOST_POOL = 20
_POOL = re.compile(r"[A-Za-z0-9_]*\Z")
_PER_PAGE = 25
_MOST_PER_PAGE = 100
_SORTS = ("created_at", "updated_at", "id", "name")


class SubaccountOptions(Struct):
    """Settings of a subaccount."""

    deliverability: Annotated[bool, Meta(description="Kept as it is given.")] | None = None


class NewSubaccount(Struct):
    """A subaccount and, unless setup_api_key is false, its first key."""

    name: Annotated[str, Meta(description="For people; 64 characters at most.")] | None = None
    setup_api_key: Annotated[bool, Meta(description="Make a key for it.")] = True
    key_label: Annotated[str, Meta(description="Name of the key.")] | None = None
    key_grants: Annotated[list[str], Meta(description="What the key may do.")] | None = None
    key_valid_ips: Annotated[list[str], Meta(description="Where it may be used from; default: anywhere.")] | None = None
    ip_pool: Annotated[str, Meta(description="The pool that its mail leaves by.")] | None = None
    options: SubaccountOptions | None = None


class MadeSubaccount(Struct):
    """The key is shown here and never again."""

    subaccount_id: int
    label: str
    key: str | UnsetType = UNSET
    short_key: str | UnsetType = UNSET


class SubaccountUpdate(Struct):
    """What is to change; what is absent stays."""

    name: Annotated[str, Meta(description="For people.")] | None = None
    status: Annotated[str, Meta(description="active, suspended or terminated: only an active one sends.")] | None = None
    ip_pool: Annotated[str, Meta(description='The pool that its mail leaves by; "": none of its own.')] | None = None
    options: SubaccountOptions | None = None


class SubaccountShown(Struct):
    """A subaccount."""

    id: int
    name: str
    status: str
    compliance_status: str
    options: SubaccountOptions
    ip_pool: str | UnsetType = UNSET


class SubaccountPage(Struct):
    """Subaccounts; total_count and links when a page was asked for."""

    results: list[SubaccountShown]
    total_count: int | UnsetType = UNSET
    links: dict[str, str] | UnsetType = UNSET


class SubaccountQuery(Struct):
    """Which to list. Without any of these: all of them."""

    cursor: Annotated[str, Meta(description="From `links.next`; initial: from the first.")] | None = None
    per_page: Annotated[str, Meta(description="How many at once, 1 to 100; 25.")] | None = None
    sort_by: Annotated[str, Meta(description="created_at, updated_at, id or name.")] | None = None
    order: Annotated[str, Meta(description="asc or desc; desc.")] | None = None
    ip_pool: Annotated[str, Meta(description="With this pool.")] | None = None
    status: Annotated[str, Meta(description="In this state.")] | None = None
    name: Annotated[str, Meta(description="With this in the name.")] | None = None
    ids: Annotated[str, Meta(description="These, with commas between.")] | None = None


class SubaccountTotal(Struct):
    """How many there are."""

    total: int


def routes(office: Office) -> list[Route[Any, Any]]:
    def now() -> int:
        return round(office.clock.wall() * 1000)

    async def create(ask: Ask[NewSubaccount, Nothing]) -> Results[MadeSubaccount]:
        _require_primary(ask.caller)
        wanted = ask.body
        _check_new(wanted, ask.caller)
        name = cast(str, wanted.name)
        async with office.database.begin() as tx:
            number = await create_subaccount(
                tx, name, now=now(), ip_pool=wanted.ip_pool or "", options=_given(wanted.options)
            )
            made = MadeSubaccount(number, name)
            if wanted.setup_api_key:
                made.key, row = await create_key(
                    tx,
                    cast(str, wanted.key_label),
                    cast("list[str]", wanted.key_grants),
                    now=now(),
                    subaccount=number,
                    networks=wanted.key_valid_ips or (),
                )
                made.label, made.short_key = row.label, row.short_key
        return Results(made)

    async def listed(ask: Ask[Nothing, SubaccountQuery]) -> SubaccountPage:
        _require_primary(ask.caller)
        wanted, limit, offset = _listing(ask.query)
        async with office.database.read() as connection:
            rows, total = await list_subaccounts(connection, wanted, limit=limit, offset=offset)
        page = SubaccountPage([_shown(row) for row in rows])
        if limit is not None:
            page.total_count, page.links = total, {}
            if offset + len(rows) < total:
                given = {name: value for name, value in structs.asdict(ask.query).items() if value is not None}
                page.links = {"next": f"{V1}/subaccounts?{urlencode({**given, 'cursor': str(offset + len(rows))})}"}
        return page

    async def show(ask: PlainAsk) -> Results[SubaccountShown]:
        number = _number(ask.path["id"])
        if ask.caller.bound and ask.caller.subaccount != number:
            raise _unknown(number)
        async with office.database.read() as connection:
            found = await read_subaccount(connection, number)
        if found is None:
            raise _unknown(number)
        return Results(_shown(found))

    async def update(ask: Ask[SubaccountUpdate, Nothing]) -> Results[Told]:
        _require_primary(ask.caller)
        wanted = ask.body
        errors = [*_wrong_name(wanted.name), *_wrong_pool(wanted.ip_pool)]
        if wanted.status is not None and wanted.status not in STATUSES:
            errors.append(_error(f"status must be one of: {', '.join(STATUSES)}", "status", wanted.status))
        if errors:
            raise Refusal(400, *errors)
        number = _number(ask.path["id"])
        async with office.database.begin() as tx:
            found = await update_subaccount(
                tx,
                number,
                now=now(),
                name=wanted.name,
                status=cast(Any, wanted.status),
                ip_pool=wanted.ip_pool,
                options=_given(wanted.options),
            )
        if not found:
            raise _unknown(number)
        return Results(Told("Successfully updated subaccount information"))

    async def total(ask: PlainAsk) -> Results[SubaccountTotal]:
        _require_primary(ask.caller)
        async with office.database.read() as connection:
            return Results(SubaccountTotal(await count_subaccounts(connection)))

    wrong = {400: "A field is wrong: `param` names it, and `value` shows it."}
    return [
        Route(
            method="POST",
            path="/subaccounts",
            handler=create,
            summary="Make a subaccount, and a key for it",
            body=NewSubaccount,
            answers=Results[MadeSubaccount],
            refuses=(Code.FORBIDDEN,),
            refuses_with=wrong,
            example={"name": "Shop", "key_label": "shop", "key_grants": ["transmissions/modify", "smtp/inject"]},
        ),
        Route(
            method="GET",
            path="/subaccounts",
            handler=listed,
            summary="The subaccounts",
            query=SubaccountQuery,
            answers=SubaccountPage,
            refuses=(Code.FORBIDDEN,),
            refuses_with=wrong,
        ),
        Route(
            method="GET",
            path="/subaccounts/summary",
            handler=total,
            summary="How many subaccounts there are",
            answers=Results[SubaccountTotal],
            refuses=(Code.FORBIDDEN,),
        ),
        Route(
            method="GET",
            path="/subaccounts/{id}",
            handler=show,
            summary="A subaccount",
            answers=Results[SubaccountShown],
            refuses=(Code.NOT_FOUND,),
        ),
        Route(
            method="PUT",
            path="/subaccounts/{id}",
            handler=update,
            summary="Change a subaccount, suspend it, or end it",
            body=SubaccountUpdate,
            answers=Results[Told],
            refuses=(Code.FORBIDDEN, Code.NOT_FOUND),
            refuses_with=wrong,
            example={"status": "suspended"},
        ),
    ]


def _check_new(wanted: NewSubaccount, caller: Caller) -> None:
    errors = [*_wrong_name(wanted.name), *_wrong_pool(wanted.ip_pool)]
    if wanted.name is None:
        errors.append(_error("`name` is a required field", "name"))
    if wanted.setup_api_key:
        if not wanted.key_label:
            errors.append(_error("`key_label` is a required field", "key_label"))
        if not wanted.key_grants:
            errors.append(_error("`key_grants` is a required field", "key_grants"))
        elif set(wanted.key_grants) - set(GRANTS):
            text = f"Invalid `key_grants value`. Supported values are: {', '.join(GRANTS)}"
            errors.append(_error(text, "key_grants", wanted.key_grants))
        elif not all(caller.may(grant) for grant in wanted.key_grants) and ALL not in caller.grants:
            raise Failure(Code.FORBIDDEN, "a key can't be given a grant that yours lacks")
    try:
        checked_networks(wanted.key_valid_ips or ())
    except ValueError:
        errors.append(_error("`key_valid_ips` must have valid netmask values", "key_valid_ips", wanted.key_valid_ips))
    if errors:
        raise Refusal(400, *errors)


def _wrong_name(name: str | None) -> list[Mapping[str, Any]]:
    if name is None:
        return []
    if not name.strip() or not name.isprintable():
        return [_error("`name` must be printable and not empty", "name", name)]
    if len(name) > _MOST_NAME:
        return [_error(f"name must be {_MOST_NAME} characters or less", "name", name)]
    return []


def _wrong_pool(pool: str | None) -> list[Mapping[str, Any]]:
    if pool is None:
        return []
    if len(pool) > _MOST_POOL:
        return [_error(f"ip_pool must be {_MOST_POOL} characters or less", "ip_pool", pool)]
    return [] if _POOL.match(pool) else [_error("ip_pool must be alphanumeric and underscore", "ip_pool", pool)]


def _error(message: str, param: str, value: object = None) -> Mapping[str, Any]:
    return {"message": message, "param": param, "value": value}


def _listing(query: SubaccountQuery) -> tuple[Listing, int | None, int]:
    """(which, how many at most, from which on). Raises Refusal."""
    if all(value is None for value in structs.asdict(query).values()):
        return Listing(), None, 0
    errors = []
    per_page = _whole(query.per_page, _PER_PAGE)
    if per_page is None or not 1 <= per_page <= _MOST_PER_PAGE:
        errors.append(_error(f"per_page must be between 1 and {_MOST_PER_PAGE}", "per_page", query.per_page))
    offset = _whole(None if query.cursor == "initial" else query.cursor, 0)
    if offset is None:
        errors.append(_error("cursor is none of ours", "cursor", query.cursor))
    if query.sort_by not in (None, *_SORTS):
        errors.append(_error(f"sort_by must be one of: {', '.join(_SORTS)}", "sort_by", query.sort_by))
    if query.order not in (None, "asc", "desc"):
        errors.append(_error("order must be asc or desc", "order", query.order))
    if query.status not in (None, *STATUSES):
        errors.append(_error(f"status must be one of: {', '.join(STATUSES)}", "status", query.status))
    for param, text in (("name", query.name), ("ip_pool", query.ip_pool)):
        if text is not None and not text.isprintable():
            errors.append(_error(f"{param} must be printable", param, text))
    ids = None if query.ids is None else [_whole(part, -1) for part in query.ids.split(",")]
    if ids is not None and None in ids:
        errors.append(_error("ids must be whole numbers with commas between", "ids", query.ids))
    if errors or per_page is None or offset is None:
        raise Refusal(400, *errors)
    listing = Listing(
        cast(Literal["created_at"], query.sort_by or "created_at"),
        query.order == "asc",
        query.ip_pool,
        cast(Any, query.status),
        query.name or "",
        None if ids is None else [number for number in ids if number is not None],
    )
    return listing, per_page, offset


def _whole(text: str | None, default: int) -> int | None:
    """None: it is no whole number that we could take."""
    if text is None:
        return default
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _given(options: SubaccountOptions | None) -> dict[str, Any] | None:
    if options is None:
        return None
    return {name: value for name, value in structs.asdict(options).items() if value is not None}


def _shown(row: Subaccount) -> SubaccountShown:
    options = SubaccountOptions(bool(row.options.get("deliverability", False)))
    shown = SubaccountShown(row.subaccount, row.name, row.status, row.status, options)
    if row.ip_pool:
        shown.ip_pool = row.ip_pool
    return shown


def _number(text: str) -> int:
    number = _whole(text, -1)
    if number is None:
        raise Failure(Code.NOT_FOUND, f"there is no subaccount {text[:40]!r}")
    return number


def _unknown(number: int) -> Failure:
    return Failure(Code.NOT_FOUND, f"there is no subaccount {number}")


def _require_primary(caller: Caller) -> None:
    if caller.bound:
        raise Failure(Code.FORBIDDEN, "subaccounts belong to the primary account's keys")
