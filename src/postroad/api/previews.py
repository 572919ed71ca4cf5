"""Rendering for people who look, not for recipients: no tracking, no pixel (api.md 3.4)."""

from __future__ import annotations

import asyncio
from typing import Any

from postroad.api.content import Compiled, Rendered
from postroad.generate.template import (
    AMP,
    HTML,
    TEXT,
    Kind,
    Limits,
    Template,
    TemplateRenderError,
    TemplateSyntaxError,
    snippet,
)
from postroad.inject.http import Code, Failure, Fault
from postroad.store.database import Database
from postroad.store.snippets import find_snippet

_PARTS = {Kind.HTML: HTML, Kind.TEXT: TEXT, Kind.AMP: AMP}


async def preview(database: Database, only: int | None, content: Compiled, data: dict[str, Any]) -> Rendered:
    """only: whose snippets are seen. Raises Failure 422 with part and line.

    Which snippets are needed may depend on the data: a snippet that is asked for and not known yet is read, and it is
    rendered anew, as often as a template may call snippets.
    """
    known: dict[str, dict[str, str] | None] = {}
    async with database.read() as connection:
        while True:
            missing: list[str] = []

            def resolve(key: str, kind: Kind, missing: list[str] = missing) -> Template | None:
                if key not in known:
                    missing.append(key)
                    return None
                return _snippet(known[key], kind)

            try:
                return await asyncio.to_thread(content.render, data, resolve)
            except TemplateRenderError as error:
                if not missing or len(known) > 6 * Limits().snippets * max(1, len(content.parts)):
                    raise Failure(
                        Code.TEMPLATE_RENDER,
                        faults=[Fault(error.message, str(error), error.code, error.part, error.line)],
                    ) from None
            for key in missing:
                found = await find_snippet(connection, only, key)
                known[key] = None if found is None else found.content


def _snippet(content: dict[str, str] | None, kind: Kind) -> Template | None:
    part = _PARTS.get(kind, TEXT)
    source = None if content is None else content.get(part.name)
    if source is None:
        return None
    try:
        return snippet(source, part)
    except TemplateSyntaxError:  # checked when it was saved
        return None
