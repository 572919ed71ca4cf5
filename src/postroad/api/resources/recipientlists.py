"""/recipient-lists: stored lists of recipients (api.md 5)."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from postroad.api.fields import MAX_ID, check_text
from postroad.api.inuse import require_unused
from postroad.api.office import Office
from postroad.api.recipients import read_recipients
from postroad.api.route import Ask, Nothing, Results, Route
from postroad.inject.http import Code, Failure, Fault, fault
from postroad.inject.http.faults import Faults
from postroad.store.errors import Conflict
from postroad.store.recipientlists import (
    RecipientList,
    create_list,
    delete_list,
    find_list,
    list_lists,
    write_list,
)
from postroad.store.seen import RECIPIENT_LIST as KIND
from postroad.store.tables import MASTER

MAX_BODY = 50 << 20  # octets (api.md 1.8)
MAX_ATTRIBUTES = 100 * 1024  # octets of JSON
_TOLD = 50  # recipients told in a refusal of the whole list
_RESERVED = "rcptlist_"
_encode = msgspec.json.encode


class ListUpdate(Struct, frozen=True):
    """A list, or what is to change in one."""

    id: (
        Annotated[str, Meta(description="64 bytes at most, without / and not beginning with rcptlist_; absent: made.")]
        | None
    ) = None
    name: Annotated[str, Meta(description="64 bytes at most; default: the id.")] | None = None
    description: Annotated[str, Meta(description="1024 bytes at most.")] | None = None
    attributes: Annotated[dict[str, Any], Meta(description="Yours: kept and shown as they are; 100 KB.")] | None = None
    recipients: (
        Annotated[
            list[Any],
            Meta(description="As in a transmission (required for a new list); they replace those that were there."),
        ]
        | None
    ) = None


class FaultsQuery(Struct, frozen=True):
    num_rcpt_errors: (
        Annotated[int, Meta(ge=0, description="How many entries of rcpt_to_errors to return; absent: all.")] | None
    ) = None


class ShowQuery(Struct, frozen=True):
    show_recipients: Annotated[bool, Meta(description="With the recipients.")] = False


class ListWritten(Struct):
    """Counts only where recipients were given; accepted and rejected add up to the entries of the request."""

    id: str
    name: str
    total_rejected_recipients: int | UnsetType = UNSET
    total_accepted_recipients: int | UnsetType = UNSET
    rcpt_to_errors: list[Fault] | UnsetType = UNSET


class ListReply(Struct):
    results: ListWritten
    errors: Annotated[list[Fault], Meta(description="Code 5000: some recipients were refused.")] | UnsetType = UNSET


class ListShown(Struct):
    """A list."""

    id: str
    name: str
    description: str
    attributes: dict[str, Any]
    total_accepted_recipients: int
    subaccount_id: Annotated[int, Meta(description="Of a subaccount's.")] | UnsetType = UNSET
    recipients: Annotated[list[Any], Meta(description="Where they were asked for.")] | UnsetType = UNSET


class _Lists:
    def __init__(self, office: Office) -> None:
        self._database = office.database
        self._office = office

    def _now(self) -> int:
        return round(self._office.clock.wall() * 1000)

    async def create(self, ask: Ask[ListUpdate, FaultsQuery]) -> ListReply:
        body = ask.body
        faults = Faults()
        self._check(body, faults)
        if body.id is not None:
            _check_id(faults, body.id)
        if body.recipients is None:
            faults.add(Code.MISSING_FIELD, "recipients is a required field")
        faults.stop()
        valid, bad = await self._recipients(body.recipients or [])
        key = body.id or secrets.token_hex(12)
        made = RecipientList(
            ask.caller.subaccount,
            key,
            body.name or key,
            body.description or "",
            body.attributes or {},
            len(valid),
            self._now(),
            _encode(valid).decode(),
        )
        try:
            async with self._database.begin() as tx:
                await create_list(tx, made)
        except Conflict:
            raise Failure(Code.LIST_EXISTS, f"List '{key}' already exists") from None
        return _reply(made, bad, ask.query.num_rcpt_errors)

    async def show_all(self, ask: Ask[Nothing, Nothing]) -> Results[list[ListShown]]:
        async with self._database.read() as connection:
            found = await list_lists(connection, ask.caller.only)
        return Results([_shown(each) for each in found])

    async def show(self, ask: Ask[Nothing, ShowQuery]) -> Results[ListShown]:
        key = ask.path["id"]
        async with self._database.read() as connection:
            found = await find_list(connection, ask.caller.only, key, recipients=ask.query.show_recipients)
        if found is None:
            raise _absent(key)
        return Results(_shown(found))

    async def update(self, ask: Ask[ListUpdate, FaultsQuery]) -> ListReply:
        body, key = ask.body, ask.path["id"]
        faults = Faults()
        if body.id is not None and body.id != key:
            faults.add(Code.INVALID_FORMAT, f"List id '{body.id[:64]}' does not match the list being updated")
        self._check(body, faults)
        faults.stop()
        valid, bad = (None, []) if body.recipients is None else await self._recipients(body.recipients)
        async with self._database.begin() as tx:
            before = await find_list(tx, ask.caller.subaccount, key)
            if before is None:
                raise _absent(key)
            if valid is not None:
                await require_unused(self._office, KIND, key, before.subaccount, f"List '{key}'")
            after = before._replace(
                name=body.name or before.name,
                description=before.description if body.description is None else body.description,
                attributes=before.attributes if body.attributes is None else body.attributes,
                total=before.total if valid is None else len(valid),
                recipients=None if valid is None else _encode(valid).decode(),
                updated=self._now(),
            )
            await write_list(tx, after)
        return _reply(after, bad, ask.query.num_rcpt_errors)

    async def delete(self, ask: Ask[Nothing, Nothing]) -> Results[Nothing]:
        key, subaccount = ask.path["id"], ask.caller.subaccount
        async with self._database.begin() as tx:
            if not await delete_list(tx, subaccount, key):
                raise _absent(key)
            await require_unused(self._office, KIND, key, subaccount, f"List '{key}'")
        return Results(Nothing())

    def _check(self, body: ListUpdate, faults: Faults) -> None:
        check_text(faults, "name", body.name, MAX_ID)
        check_text(faults, "description", body.description, lines=True)
        if body.attributes is not None and len(_encode(body.attributes)) > MAX_ATTRIBUTES:
            faults.add(Code.INVALID_FORMAT, f"attributes is limited to {MAX_ATTRIBUTES} bytes")
        most = self._office.config().http.max_recipients
        if body.recipients is not None and len(body.recipients) > most:
            faults.add(Code.INVALID_FORMAT, f"recipients is limited to {most} entries")

    async def _recipients(self, entries: list[Any]) -> tuple[list[Any], list[Fault]]:
        """Raises Failure when none is valid."""
        valid, bad = await read_recipients(entries)
        if not valid:
            raise Failure(Code.NO_RECIPIENT, faults=[fault(Code.NO_RECIPIENT), *bad[:_TOLD]])
        return valid, bad


def _check_id(faults: Faults, key: str) -> None:
    check_text(faults, "id", key, MAX_ID)
    if not key or "/" in key or not key.strip(". "):
        faults.add(Code.INVALID_FORMAT, "'id' must not be empty and not hold a /")
    if key.startswith(_RESERVED):
        faults.add(Code.INVALID_FORMAT, f"List id '{key[:MAX_ID]}' cannot start with '{_RESERVED}'")


def _absent(key: str) -> Failure:
    return Failure(Code.NOT_FOUND, f"List '{key[:MAX_ID]}' does not exist")


def _reply(made: RecipientList, bad: list[Fault], told: int | None) -> ListReply:
    results = ListWritten(made.id, made.name)
    if made.recipients is None:
        return ListReply(results)
    results.total_rejected_recipients = len(bad)
    results.total_accepted_recipients = made.total
    if not bad:
        return ListReply(results)
    results.rcpt_to_errors = bad if told is None else bad[:told]
    return ListReply(results, [fault(Code.LIST_PARTLY_CREATED)])


def _shown(found: RecipientList) -> ListShown:
    made = ListShown(found.id, found.name, found.description, found.attributes, found.total)
    if found.subaccount != MASTER:
        made.subaccount_id = found.subaccount
    if found.recipients is not None:
        made.recipients = msgspec.json.decode(found.recipients)
    return made


def _without_id(method: str) -> Any:
    async def refuse(ask: Ask[Nothing, Nothing]) -> None:
        raise Failure(Code.INVALID_URI, f"{method} requires a recipient list id in the URI")

    return refuse


def routes(office: Office) -> list[Route[Any, Any]]:
    lists = _Lists(office)
    refuses = (Code.MISSING_FIELD, Code.INVALID_FORMAT, Code.NO_RECIPIENT)
    return [
        Route(
            method="POST",
            path="/recipient-lists",
            handler=lists.create,
            summary="Store a recipient list",
            query=FaultsQuery,
            body=ListUpdate,
            answers=ListReply,
            refuses=(*refuses, Code.LIST_EXISTS),
            max_body=MAX_BODY,
            example={"id": "vip", "recipients": [{"address": {"email": "to@b.example", "name": "To"}}]},
        ),
        Route(
            method="GET",
            path="/recipient-lists",
            handler=lists.show_all,
            summary="All recipient lists, without recipients",
            answers=Results[list[ListShown]],
        ),
        Route(
            method="GET",
            path="/recipient-lists/{id}",
            handler=lists.show,
            summary="A recipient list",
            query=ShowQuery,
            answers=Results[ListShown],
            refuses=(Code.NOT_FOUND,),
        ),
        Route(
            method="PUT",
            path="/recipient-lists/{id}",
            handler=lists.update,
            summary="Change a recipient list",
            description="Recipients and attributes are replaced as a whole where they are given.",
            query=FaultsQuery,
            body=ListUpdate,
            answers=ListReply,
            refuses=(*refuses, Code.NOT_FOUND, Code.CONFLICT),
            max_body=MAX_BODY,
            example={"name": "Very important"},
        ),
        Route(
            method="DELETE",
            path="/recipient-lists/{id}",
            handler=lists.delete,
            summary="Remove a recipient list",
            answers=Results[Nothing],
            refuses=(Code.NOT_FOUND, Code.CONFLICT),
        ),
        *(
            Route(
                method=method,
                path="/recipient-lists",
                handler=_without_id(method),
                summary="Refused: the id is missing",
                answers=None,
                refuses=(Code.INVALID_URI,),
            )
            for method in ("PUT", "DELETE")
        ),
    ]
