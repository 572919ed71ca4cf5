"""The content of a stored template: checked when it is saved, rendered for previews (api.md 3.2 to 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from postroad.api.rfc822 import rfc822_parts
from postroad.generate.template import AMP, HTML, TEXT, Kind, Part, Template, TemplateSyntaxError, compile, header
from postroad.inject.http import Code
from postroad.inject.http.content import prepare
from postroad.inject.http.faults import Faults
from postroad.inject.http.shapes import AttachedFile, Sender, TransmissionContent

_BODIES = {"text": TEXT, "html": HTML, "amp_html": AMP}
Resolve = Callable[[str, Kind], Template | None]


class StoredContent(Struct, frozen=True, rename={"sender": "from"}, omit_defaults=True):
    """What a template says: parts and header fields, or a whole message in `email_rfc822` alone."""

    sender: Annotated[str | Sender, Meta(description='`a@b.example`, `"Name" <a@b.example>` or an object.')] | None = (
        None
    )
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    amp_html: Annotated[str, Meta(description="Needs text or html beside it.")] | None = None
    reply_to: Annotated[str, Meta(description="An address, or a comma list.")] | None = None
    headers: Annotated[dict[str, str | None], Meta(description="More header fields.")] | None = None
    attachments: list[AttachedFile] | None = None
    inline_images: list[AttachedFile] | None = None
    email_rfc822: Annotated[str, Meta(description="A whole RFC 5322 message, instead of everything else.")] | None = (
        None
    )


class Rendered(Struct, rename={"sender": "from"}):
    """What comes out; parts that the content has not are absent."""

    sender: Annotated[str | dict[str, str], Meta(description="As it was given: text or object.")] | UnsetType = UNSET
    subject: str | UnsetType = UNSET
    reply_to: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    html: str | UnsetType = UNSET
    amp_html: str | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET


class Compiled:
    """parts: templates by the path of their place in Rendered: ("subject",), ("headers", "X-Id"), ("from", "email")."""

    def __init__(self, parts: Mapping[tuple[str, ...], Template]) -> None:
        self.parts = parts

    def render(self, data: Mapping[str, object], resolve: Resolve) -> Rendered:
        """resolve: finds snippets. Raises TemplateRenderError."""
        made: dict[str, Any] = {}
        for path, template in self.parts.items():
            kind = Kind.TEXT if template.part.kind is Kind.HEADER else template.part.kind
            text = template.render(data, snippets=lambda key, kind=kind: resolve(key, kind))  # type: ignore[misc]
            if len(path) == 1:
                made[path[0]] = text
            else:
                made.setdefault(path[0], {})[path[1]] = text
        return msgspec.convert(made, Rendered)


def given(content: StoredContent | None) -> dict[str, Any]:
    """The members that say something, as JSON values; a content of nulls alone is as none (api.md 3.2)."""
    if content is None:
        return {}
    found: dict[str, Any] = {name: value for name, value in msgspec.to_builtins(content).items() if value is not None}
    for name in ("headers", "from"):
        if isinstance(found.get(name), dict):
            found[name] = {key: value for key, value in found[name].items() if value is not None}
    return found


def check(content: Mapping[str, Any], faults: Faults) -> None:
    """As the content of a transmission is checked, so that what is saved can be sent. content: as `given` returns it.
    Everything that is wrong is added to `faults`."""
    prepare(msgspec.convert(content, TransmissionContent), substitute=True, boundary=lambda: "=_none", faults=faults)


def compiled(content: Mapping[str, Any], faults: Faults) -> Compiled:
    """What there is, for a preview: it need not be whole. content: as `given` returns it."""
    parts: dict[tuple[str, ...], Template] = {}

    def add(path: tuple[str, ...], source: str, part: Part) -> None:
        try:
            parts[path] = compile(source, part)
        except TemplateSyntaxError as error:
            faults.add(Code.TEMPLATE_SYNTAX, str(error), part=error.part, line=error.line)

    raw = content.get("email_rfc822")
    if raw is not None:
        try:
            found = rfc822_parts(raw)
        except ValueError as error:
            faults.add(Code.MIME_PARSE, f"content.email_rfc822 {error}")
        else:
            for place in found:
                add(*place)
        return Compiled(parts)
    sender = content.get("from")
    if isinstance(sender, str):
        add(("from",), sender, header("From"))
    elif sender is not None:
        for name, text in sender.items():
            add(("from", name), text, header("From"))
    for name, field in (("subject", "Subject"), ("reply_to", "Reply-To")):
        if name in content:
            add((name,), content[name], header(field))
    for name, value in content.get("headers", {}).items():
        add(("headers", name), value, header(name))
    for name, part in _BODIES.items():
        if name in content:
            add((name,), content[name], part)
    return Compiled(parts)
