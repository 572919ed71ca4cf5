"""The content of a stored template: checked when it is saved, rendered for previews (api.md 3.2 to 3.4)."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from postroad.api.rfc822 import rfc822_parts
from postroad.generate import HeaderError, parse_people
from postroad.generate.headers import check_breaks, check_name
from postroad.generate.mime import OWNED
from postroad.generate.template import AMP, HTML, TEXT, Kind, Part, Template, TemplateSyntaxError, compile, header
from postroad.inject.http import Code
from postroad.inject.http.faults import Faults
from postroad.inject.http.shapes import AttachedFile, Sender
from postroad.message.address import AddressError, parse_mailbox

_WHITE = str.maketrans("", "", " \t\r\n")
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


def compiled(content: Mapping[str, Any], faults: Faults, *, whole: bool = True) -> Compiled:
    """content: as `given` returns it. whole: what a message needs must be there; previews show what there is. What is
    wrong is added to `faults`, everything of it."""
    parts: dict[tuple[str, ...], Template] = {}

    def add(path: tuple[str, ...], source: str, part: Part) -> None:
        try:
            parts[path] = compile(source, part)
        except TemplateSyntaxError as error:
            faults.add(Code.TEMPLATE_SYNTAX, str(error), part=error.part, line=error.line)

    def add_field(path: tuple[str, ...], source: str, name: str) -> None:
        where = "content." + ".".join(path)[:100]
        try:
            check_breaks(where, source)
        except HeaderError as error:
            faults.add(Code.INVALID_HEADER, str(error))
            return
        add(path, source, header(name))

    raw = content.get("email_rfc822")
    if raw is not None:
        # python-sparkpost leaves an amp_html beside it (api.md 23.1).
        beside = [name for name in content if name not in ("email_rfc822", "amp_html")]
        if beside:
            names = ", ".join(sorted(beside))
            faults.add(Code.INVALID_COMBINATION, f"content.email_rfc822 can not be combined with {names}")
            return Compiled(parts)
        _add_message(raw, add, faults)
        return Compiled(parts)
    if whole:
        _require(content, faults)
    sender = content.get("from")
    if isinstance(sender, str):
        add_field(("from",), sender, "From")
    elif sender is not None:
        for name in ("email", "name"):
            if name in sender:
                add_field(("from", name), sender[name], "From")
    _check_sender(sender, faults)
    for name, field in (("subject", "Subject"), ("reply_to", "Reply-To")):
        if name in content:
            add_field((name,), content[name], field)
    for name, value in content.get("headers", {}).items():
        if _is_settable(name, faults):
            add_field(("headers", name), value, name)
    for name, part in _BODIES.items():
        if name in content:
            add((name,), content[name], part)
    for name in ("attachments", "inline_images"):
        _check_files(name, content.get(name, []), faults)
    return Compiled(parts)


def _require(content: Mapping[str, Any], faults: Faults) -> None:
    if "from" not in content:
        faults.add(Code.MISSING_FIELD, "content.from is a required field")
    if "subject" not in content:
        faults.add(Code.MISSING_FIELD, "content.subject is a required field")
    if "text" not in content and "html" not in content:
        faults.add(Code.MISSING_FIELD, "At least one of 'text' or 'html' must exist in content")


def _check_sender(sender: str | Mapping[str, str] | None, faults: Faults) -> None:
    """A From without statements is an address now; one with them is looked at for each recipient."""
    if sender is None:
        return
    if isinstance(sender, str):
        if "{{" in sender:
            return
        try:
            people = parse_people("content.from", sender)
        except HeaderError as error:
            if not any(mark in sender for mark in "\r\n\0"):  # which was told
                faults.add(Code.INVALID_HEADER, str(error))
            return
        if len(people) > 1:
            faults.add(Code.INVALID_FORMAT, "content.from must be one address")
            return
        email = people[0].email if people else ""
    else:
        email = sender.get("email", "").strip()
    if not email:
        faults.add(Code.MISSING_FIELD, "content.from.email is a required field")
    elif "{{" not in email:
        if email.startswith("@"):
            faults.add(Code.NO_LOCAL_PART, f"content.from: {email[:320]!r} has nothing before the @")
            return
        try:
            parse_mailbox(email)
        except AddressError as error:
            faults.add(Code.INVALID_FORMAT, f"content.from: {email[:320]!r}: {error}")


def _check_files(member: str, files: list[dict[str, Any]], faults: Faults) -> None:
    for number, file in enumerate(files):
        where = f"content.{member}[{number}]"
        for name in ("type", "data"):
            if file.get(name) is None:
                faults.add(Code.MISSING_FIELD, f"{where}.{name} is a required field")
        try:
            binascii.a2b_base64((file.get("data") or "").translate(_WHITE), strict_mode=True)
        except ValueError:
            faults.add(Code.MIME_CONSTRUCTION, f"{where}.data is not base64")
        for name in ("type", "name"):
            try:
                check_breaks(f"{where}.{name}", file.get(name) or "")
            except HeaderError as error:
                faults.add(Code.INVALID_HEADER, str(error))


def _is_settable(name: str, faults: Faults) -> bool:
    where = f"content.headers.{name[:76]}"
    try:
        check_name(where, name)
        key = name.lower()
        if key.replace("-", "_") in OWNED or key in OWNED or key == "reply-to" or key.startswith("content-"):
            raise HeaderError(where, "can not be set here")
    except HeaderError as error:
        faults.add(Code.INVALID_HEADER, str(error))
        return False
    return True


def _add_message(raw: str, add: Callable[[tuple[str, ...], str, Part], None], faults: Faults) -> None:
    try:
        found = rfc822_parts(raw)
    except ValueError as error:
        faults.add(Code.MIME_PARSE, f"content.email_rfc822 {error}")
        return
    for path, source, part in found:
        add(path, source, part)
