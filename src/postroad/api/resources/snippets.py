"""/snippets: pieces that templates render (api.md 6)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from postroad.api.envelope import Refusal
from postroad.api.fields import (
    check_id,
    check_shared,
    check_text,
    moment_text_exact,
    require_own,
)
from postroad.api.office import Office
from postroad.api.route import LABS, V1, Ask, Nothing, Results, Route
from postroad.generate.template import AMP, HTML, TEXT, TemplateSyntaxError
from postroad.generate.template import snippet as compile_snippet
from postroad.inject.http import Code, Failure
from postroad.inject.http.faults import Faults
from postroad.store.errors import Conflict
from postroad.store.snippets import Snippet, create_snippet, delete_snippet, find_snippet, list_snippets, write_snippet
from postroad.store.tables import MASTER

MAX_PART = 100_000  # bytes
_PARTS = {"html": HTML, "text": TEXT, "amp_html": AMP}
_BASES = (V1, LABS)
_REFUSES = (Code.MISSING_FIELD, Code.INVALID_FORMAT, Code.TEMPLATE_SYNTAX)


class SnippetContent(Struct, frozen=True):
    """The piece, for each kind of part that shows it; 100 KB each."""

    html: str | None = None
    text: str | None = None
    amp_html: str | None = None


class SnippetUpdate(Struct, frozen=True):
    """A snippet, or what is to change in one."""

    id: Annotated[str, Meta(description="64 bytes of letters, digits and - _ . at most (required).")] | None = None
    name: Annotated[str, Meta(description="1024 bytes at most; default: the id.")] | None = None
    content: (
        Annotated[
            SnippetContent,
            Meta(description='At least one part (required). In a change, parts that are absent stay, "" removes one.'),
        ]
        | None
    ) = None
    shared_with_subaccounts: (
        Annotated[bool, Meta(description="May subaccounts use it? For the primary account's snippets.")] | None
    ) = None


class SharedQuery(Struct, frozen=True):
    shared_with_subaccounts: Annotated[bool, Meta(description="Only those that are shared, or are not.")] | None = None


class SnippetId(Struct):
    id: str


class SnippetShown(Struct):
    """A snippet."""

    id: str
    name: str
    content: dict[str, str]
    created_at: str
    updated_at: str
    shared_with_subaccounts: Annotated[bool, Meta(description="Of the primary account's.")] | UnsetType = UNSET
    subaccount_id: Annotated[int, Meta(description="Of a subaccount's.")] | UnsetType = UNSET


def routes(office: Office) -> list[Route[Any, Any]]:
    database = office.database

    def now() -> int:
        return round(office.clock.wall() * 1000)

    async def create(ask: Ask[SnippetUpdate, Nothing]) -> Results[SnippetId]:
        body = ask.body
        faults = Faults()
        if body.id is None:
            faults.add(Code.MISSING_FIELD, "id is a required field")
        else:
            check_id(faults, body.id)
        _check(ask, faults)
        content = {name: text for name, text in _given(body).items() if text}
        if not content and not len(faults):
            faults.add(Code.MISSING_FIELD, "content is a required field: html, text or amp_html")
        faults.stop()
        key = body.id or ""
        shared = bool(body.shared_with_subaccounts)
        made = Snippet(ask.caller.subaccount, key, body.name or key, shared, content, now(), now())
        try:
            async with database.begin() as tx:
                await create_snippet(tx, made)
        except Conflict:
            raise Failure(Code.CONFLICT, f"Snippet '{key}' already exists") from None
        return Results(SnippetId(key))

    async def show_all(ask: Ask[Nothing, SharedQuery]) -> Results[list[SnippetShown]]:
        async with database.read() as connection:
            found = await list_snippets(connection, ask.caller.only, ask.query.shared_with_subaccounts)
        return Results([_shown(each) for each in found])

    async def show(ask: Ask[Nothing, Nothing]) -> Results[SnippetShown]:
        async with database.read() as connection:
            found = await find_snippet(connection, ask.caller.only, ask.path["id"])
        if found is None:
            raise _absent(ask.path["id"])
        return Results(_shown(found))

    async def update(ask: Ask[SnippetUpdate, Nothing]) -> Results[SnippetId]:
        body, key = ask.body, ask.path["id"]
        faults = Faults()
        if body.id is not None and body.id != key:
            faults.add(Code.INVALID_FORMAT, f"Snippet id '{body.id[:64]}' does not match the snippet being updated")
        _check(ask, faults)
        faults.stop()
        async with database.begin() as tx:
            before = await find_snippet(tx, ask.caller.subaccount, key)
            if before is None:
                raise _absent(key)
            require_own(ask.caller, before.subaccount, f"Snippet '{key}'")
            content = {name: text for name, text in {**before.content, **_given(body)}.items() if text}
            if not content:
                raise Failure(Code.MISSING_FIELD, "content must keep one of html, text and amp_html")
            shared = before.shared if body.shared_with_subaccounts is None else body.shared_with_subaccounts
            await write_snippet(
                tx,
                before._replace(name=body.name or before.name, shared=shared, content=content, updated=now()),
            )
        return Results(SnippetId(key))

    async def delete(ask: Ask[Nothing, Nothing]) -> None:
        key = ask.path["id"]
        async with database.begin() as tx:
            before = await find_snippet(tx, ask.caller.subaccount, key)
            if before is None:
                raise _absent(key)
            require_own(ask.caller, before.subaccount, f"Snippet '{key}'")
            await delete_snippet(tx, ask.caller.subaccount, key)

    return [
        Route(
            method="POST",
            path="/snippets",
            bases=_BASES,
            handler=create,
            summary="Store a snippet",
            body=SnippetUpdate,
            answers=Results[SnippetId],
            refuses=(*_REFUSES, Code.CONFLICT),
            example={
                "id": "legal",
                "name": "Legal note",
                "content": {"html": "<p>{{company}}</p>", "text": "{{company}}"},
            },
        ),
        Route(
            method="GET",
            path="/snippets",
            bases=_BASES,
            handler=show_all,
            summary="All snippets",
            query=SharedQuery,
            answers=Results[list[SnippetShown]],
        ),
        Route(
            method="GET",
            path="/snippets/{id}",
            bases=_BASES,
            handler=show,
            summary="A snippet",
            answers=Results[SnippetShown],
            refuses=(Code.NOT_FOUND,),
        ),
        Route(
            method="PUT",
            path="/snippets/{id}",
            bases=_BASES,
            handler=update,
            summary="Change a snippet",
            body=SnippetUpdate,
            answers=Results[SnippetId],
            refuses=(*_REFUSES, Code.NOT_FOUND, Code.FORBIDDEN),
            example={"content": {"text": ""}},
        ),
        Route(
            method="DELETE",
            path="/snippets/{id}",
            bases=_BASES,
            handler=delete,
            summary="Remove a snippet",
            answers=None,
            refuses=(Code.NOT_FOUND, Code.FORBIDDEN),
        ),
    ]


def _absent(key: str) -> Failure:
    return Failure(Code.NOT_FOUND, f"Snippet '{key[:64]}' does not exist")


def _given(body: SnippetUpdate) -> dict[str, str]:
    """The parts that were given; "" where one is to go."""
    if body.content is None:
        return {}
    return {name: text for name, text in structs.asdict(body.content).items() if text is not None}


def _check(ask: Ask[SnippetUpdate, Nothing], faults: Faults) -> None:
    """A syntax error is told at once, in the words of this family: the message alone."""
    body = ask.body
    check_text(faults, "name", body.name)
    check_shared(faults, ask.caller, body.shared_with_subaccounts)
    for name, text in _given(body).items():
        if len(text.encode()) > MAX_PART:
            faults.add(Code.INVALID_FORMAT, f"content.{name} is limited to {MAX_PART} bytes")
            continue
        try:
            compile_snippet(text, _PARTS[name])
        except TemplateSyntaxError as error:
            told = {"message": str(error), "code": error.code, "part": error.part, "line": error.line}
            raise Refusal(422, told) from None


def _shown(snippet: Snippet) -> SnippetShown:
    made = SnippetShown(
        id=snippet.id,
        name=snippet.name,
        content=snippet.content,
        created_at=moment_text_exact(snippet.created),
        updated_at=moment_text_exact(snippet.updated),
    )
    if snippet.subaccount == MASTER:
        made.shared_with_subaccounts = snippet.shared
    else:
        made.subaccount_id = snippet.subaccount
    return made
