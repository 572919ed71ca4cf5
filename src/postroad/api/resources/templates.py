"""/templates: stored templates, their drafts and published versions (api.md 3)."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import msgspec

from postroad.api.content import check, compiled, given
from postroad.api.fields import (
    check_id,
    check_shared,
    check_text,
    made_id,
    require_own,
)
from postroad.api.inuse import require_unused
from postroad.api.office import Office
from postroad.api.previews import preview
from postroad.api.route import Ask, Nothing, Results, Route
from postroad.api.templateshapes import (
    MAX_CONTENT,
    MAX_REQUEST,
    ContentPreview,
    Created,
    DraftQuery,
    ListQuery,
    PreviewAsk,
    Previewed,
    TemplateShown,
    TemplateUpdate,
    UpdateQuery,
    shown,
)
from postroad.inject.http import Code, Failure
from postroad.inject.http.faults import Faults
from postroad.store.errors import Conflict
from postroad.store.seen import TEMPLATE as KIND
from postroad.store.templates import (
    Template,
    Version,
    create_template,
    delete_template,
    drop_draft,
    find_template,
    list_templates,
    share_template,
    write_version,
)

_CHECKED = (
    Code.MISSING_FIELD,
    Code.INVALID_FORMAT,
    Code.INVALID_COMBINATION,
    Code.TEMPLATE_SYNTAX,
    Code.INVALID_HEADER,
    Code.MIME_CONSTRUCTION,
    Code.MIME_PARSE,
    Code.NO_LOCAL_PART,
    Code.INVALID_DOMAIN,
)


class _Templates:
    def __init__(self, office: Office) -> None:
        self._database = office.database
        self._office = office
        self._clock = office.clock

    def _now(self) -> int:
        return round(self._clock.wall() * 1000)

    async def create(self, ask: Ask[TemplateUpdate, Nothing]) -> Results[Created]:
        body = ask.body
        faults = Faults()
        content = await _checked(ask, faults, whole=True)
        if body.id is None and body.name is None:
            faults.add(Code.MISSING_FIELD, "id or name is required")
        if body.id is not None:
            check_id(faults, body.id)
        faults.stop()
        key = body.id or made_id(body.name or "", f"template-{secrets.token_hex(6)}")
        version = Version(
            published=bool(body.published),
            number=1,
            name=body.name or key,
            description=body.description or "",
            options=_options(body),
            content=content,
            updated=self._now(),
        )
        try:
            async with self._database.begin() as tx:
                await create_template(tx, ask.caller.subaccount, key, bool(body.shared_with_subaccounts), version)
        except Conflict:
            raise Failure(Code.TEMPLATE_EXISTS, f"Template '{key}' already exists") from None
        return Results(Created(key))

    async def show_all(self, ask: Ask[Nothing, ListQuery]) -> Results[list[TemplateShown]]:
        query = ask.query
        async with self._database.read() as connection:
            found = await list_templates(connection, ask.caller.only, query.shared_with_subaccounts)
        rows = []
        for template in found:
            version = template.latest if query.draft is None else _version(template, draft=query.draft)
            if version is not None:
                rows.append(shown(template, version))
        return Results(rows)

    async def show(self, ask: Ask[Nothing, DraftQuery]) -> Results[TemplateShown]:
        template, version = await self._find(ask.caller.only, ask.path["id"], ask.query.draft)
        return Results(shown(template, version))

    async def update(self, ask: Ask[TemplateUpdate, UpdateQuery]) -> Results[Nothing]:
        body, caller, key = ask.body, ask.caller, ask.path["id"]
        faults = Faults()
        if body.id is not None and body.id != key:
            faults.add(Code.INVALID_FORMAT, f"Template id '{body.id[:64]}' does not match the template being updated")
        content = await _checked(ask, faults, whole=False)
        faults.stop()
        async with self._database.begin() as tx:
            template = await find_template(tx, caller.subaccount, key)
            if template is None:
                raise _absent(key)
            require_own(caller, template.subaccount, f"Template '{key}'")
            shared = body.shared_with_subaccounts
            if shared is not None and shared != template.shared:
                await share_template(tx, caller.subaccount, key, shared)
            if ask.query.update_published:
                base = template.published
                if base is None:
                    raise Failure(Code.NO_PUBLISHED, f"Template '{key}' has no published version")
            else:
                base = template.draft or template.published
                assert base is not None  # a template has one of them
            changed = _changed(base, body, content)
            number = template.latest.number + 1
            if ask.query.update_published:
                if changed != base:
                    await write_version(
                        tx, caller.subaccount, key, changed._replace(number=number, updated=self._now())
                    )
            elif body.published and (template.draft is not None or changed != base):
                version = changed._replace(published=True, number=number, updated=self._now())
                await write_version(tx, caller.subaccount, key, version)
                await drop_draft(tx, caller.subaccount, key)
            elif changed != base:
                version = changed._replace(published=False, number=number, updated=self._now())
                await write_version(tx, caller.subaccount, key, version)
        return Results(Nothing())

    async def delete(self, ask: Ask[Nothing, Nothing]) -> Results[Nothing]:
        caller, key = ask.caller, ask.path["id"]
        async with self._database.begin() as tx:
            template = await find_template(tx, caller.subaccount, key)
            if template is None:
                raise _absent(key)
            require_own(caller, template.subaccount, f"Template '{key}'")
            whose = None if template.shared else template.subaccount
            await require_unused(self._office, KIND, key, whose, "Template")
            await delete_template(tx, caller.subaccount, key)
        return Results(Nothing())

    async def preview(self, ask: Ask[PreviewAsk, DraftQuery]) -> Results[Previewed]:
        # A POST that changes nothing: what is shared may be looked at.
        template, version = await self._find(ask.caller.subaccount, ask.path["id"], ask.query.draft)
        content = await asyncio.to_thread(compiled, version.content or {}, Faults())
        return Results(await preview(self._database, template.subaccount, content, ask.body.substitution_data or {}))

    async def preview_content(self, ask: Ask[ContentPreview, Nothing]) -> Results[Previewed]:
        faults = Faults()
        content = given(ask.body.content)
        if not content:
            faults.add(Code.MISSING_FIELD, "content is a required field")
        made = await asyncio.to_thread(compiled, content, faults)
        faults.stop()
        return Results(await preview(self._database, ask.caller.subaccount, made, ask.body.substitution_data))

    async def _find(self, only: int | None, key: str, draft: bool | None) -> tuple[Template, Version]:
        async with self._database.read() as connection:
            template = await find_template(connection, only, key)
        if template is None:
            raise _absent(key)
        version = template.latest if draft is None else _version(template, draft=draft)
        if version is None:
            which = "draft" if draft else "published version"
            raise Failure(Code.NOT_FOUND, f"Template '{key}' has no {which}")
        return template, version


def _absent(key: str) -> Failure:
    return Failure(Code.NOT_FOUND, f"Template '{key[:64]}' does not exist")


def _version(template: Template, *, draft: bool) -> Version | None:
    return template.draft if draft else template.published


async def _checked(ask: Ask[TemplateUpdate, Any], faults: Faults, *, whole: bool) -> dict[str, Any]:
    """The content that was given, {} for none. whole: it must be there."""
    body = ask.body
    check_text(faults, "name", body.name)
    check_text(faults, "description", body.description, lines=True)
    check_shared(faults, ask.caller, body.shared_with_subaccounts)
    content = given(body.content)
    if not content:
        if whole:
            faults.add(Code.MISSING_FIELD, "content is a required field")
        return {}
    if len(msgspec.json.encode(content)) > MAX_CONTENT:
        faults.add(Code.INVALID_FORMAT, f"content is limited to {MAX_CONTENT} bytes")
        faults.stop()
    await asyncio.to_thread(check, content, faults)  # megabytes of template take a while
    return content


def _options(body: TemplateUpdate) -> dict[str, bool]:
    if body.options is None:
        return {}
    return {name: value for name, value in msgspec.structs.asdict(body.options).items() if value is not None}


def _changed(base: Version, body: TemplateUpdate, content: dict[str, Any]) -> Version:
    """Content is replaced as a whole; of the rest what was given (api.md 3.2)."""
    return base._replace(
        name=body.name or base.name,
        description=base.description if body.description is None else body.description,
        options={**base.options, **_options(body)},
        content=content or base.content,
    )


def routes(office: Office) -> list[Route[Any, Any]]:
    templates = _Templates(office)
    example = {
        "id": "welcome",
        "name": "Welcome",
        "content": {"from": "hello@a.example", "subject": "Welcome {{name}}", "text": "Hello {{name}}"},
    }
    return [
        Route(
            method="POST",
            path="/templates",
            handler=templates.create,
            summary="Store a template",
            body=TemplateUpdate,
            answers=Results[Created],
            refuses=(*_CHECKED, Code.TEMPLATE_EXISTS),
            max_body=MAX_REQUEST,
            example=example,
        ),
        Route(
            method="GET",
            path="/templates",
            handler=templates.show_all,
            summary="All templates, without their content",
            query=ListQuery,
            answers=Results[list[TemplateShown]],
        ),
        Route(
            method="GET",
            path="/templates/{id}",
            handler=templates.show,
            summary="A template",
            query=DraftQuery,
            answers=Results[TemplateShown],
            refuses=(Code.NOT_FOUND,),
        ),
        Route(
            method="PUT",
            path="/templates/{id}",
            handler=templates.update,
            summary="Change or publish a template",
            description="Without update_published the draft is changed, and made of the published version where there "
            "is none. `published: true` makes the draft the published version; there is no draft then.",
            query=UpdateQuery,
            body=TemplateUpdate,
            answers=Results[Nothing],
            refuses=(*_CHECKED, Code.NOT_FOUND, Code.FORBIDDEN, Code.NO_PUBLISHED),
            max_body=MAX_REQUEST,
            example={"published": True},
        ),
        Route(
            method="DELETE",
            path="/templates/{id}",
            handler=templates.delete,
            summary="Remove a template, draft and published",
            answers=Results[Nothing],
            refuses=(Code.NOT_FOUND, Code.FORBIDDEN, Code.CONFLICT),
        ),
        Route(
            method="POST",
            path="/templates/{id}/preview",
            handler=templates.preview,
            summary="Render a template with data",
            query=DraftQuery,
            body=PreviewAsk,
            optional_body=True,
            answers=Results[Previewed],
            refuses=(Code.NOT_FOUND, Code.INVALID_FORMAT, Code.TEMPLATE_RENDER),
            example={"substitution_data": {"name": "Mara"}},
        ),
        Route(
            method="POST",
            path="/utils/content-previewer",
            handler=templates.preview_content,
            summary="Render content that is not stored",
            body=ContentPreview,
            answers=Results[Previewed],
            refuses=(*_CHECKED, Code.TEMPLATE_RENDER),
            max_body=MAX_REQUEST,
            example={"substitution_data": {"name": "Mara"}, "content": {"subject": "Welcome {{name}}"}},
        ),
    ]
