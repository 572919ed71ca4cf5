"""/account: the account's name and defaults (api.md 21)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from postroad.api.callers import Caller
from postroad.api.office import Office
from postroad.api.route import Ask, Nothing, PlainAsk, Results, Route, Told
from postroad.inject.http import Code, Failure
from postroad.store.account import read_account, write_account


class AccountOptions(Struct):
    """What counts where a message does not say. Absent or null: stays as it is."""

    smtp_tracking_default: Annotated[bool, Meta(description="Track opens and clicks of SMTP mail.")] | None = None
    rest_tracking_default: Annotated[bool, Meta(description="Track opens and clicks of transmissions.")] | None = None
    transactional_unsub: (
        Annotated[bool, Meta(description="Give transactional mail a List-Unsubscribe field, too.")] | None
    ) = None
    transactional_default: Annotated[bool, Meta(description="Messages are transactional.")] | None = None
    initial_open_pixel_tracking: Annotated[bool, Meta(description="Add the pixel at the top, too.")] | None = None
    click_tracking: Annotated[bool, Meta(description="Track clicks where opens are tracked.")] | None = None


DEFAULTS = AccountOptions(
    smtp_tracking_default=False,
    rest_tracking_default=True,
    transactional_unsub=False,
    transactional_default=False,
    initial_open_pixel_tracking=True,
    click_tracking=True,
)


class AccountUpdate(Struct):
    """What is to change."""

    company_name: Annotated[str, Meta(max_length=255, description="The name of the company.")] | None = None
    options: AccountOptions | None = None


class AccountShown(Struct):
    """The account of this server."""

    customer_id: int
    company_name: str
    status: Annotated[str, Meta(description="Always active.")]
    options: AccountOptions
    created: Annotated[str, Meta(description="When something was set for the first time.")] | UnsetType = UNSET
    updated: str | UnsetType = UNSET


def routes(office: Office) -> list[Route[Any, Any]]:
    async def show(ask: PlainAsk) -> Results[AccountShown]:
        _require_primary(ask.caller)
        async with office.database.read() as connection:
            found = await read_account(connection)
        options = structs.replace(DEFAULTS, **found.options)
        shown = AccountShown(1, found.company_name, "active", options)
        if found.created is not None and found.updated is not None:
            shown.created, shown.updated = _time(found.created), _time(found.updated)
        return Results(shown)

    async def update(ask: Ask[AccountUpdate, Nothing]) -> Results[Told]:
        _require_primary(ask.caller)
        wanted = ask.body
        if wanted.company_name is None and wanted.options is None:
            raise Failure(Code.MISSING_FIELD, "company_name or options is required")
        options = {} if wanted.options is None else structs.asdict(wanted.options)
        given = {name: value for name, value in options.items() if value is not None}
        async with office.database.begin() as tx:
            await write_account(tx, wanted.company_name, given, round(office.clock.wall() * 1000))
        return Results(Told("Account has been updated"))

    return [
        Route(
            method="GET",
            path="/account",
            handler=show,
            summary="The account and its defaults",
            answers=Results[AccountShown],
            refuses=(Code.FORBIDDEN,),
        ),
        Route(
            method="PUT",
            path="/account",
            handler=update,
            summary="Change the account's name or defaults",
            body=AccountUpdate,
            answers=Results[Told],
            refuses=(Code.FORBIDDEN, Code.MISSING_FIELD),
            example={"options": {"click_tracking": False}},
        ),
    ]


def _require_primary(caller: Caller) -> None:
    if caller.bound:
        raise Failure(Code.FORBIDDEN, "the account belongs to the primary account's keys")


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat()
