"""The content of a transmission (api.md 2.5), made ready: a Draft for inline content and templates, a Raw for
email_rfc822."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping

from postroad.generate import (
    Attachment,
    BuildErrors,
    Content,
    Draft,
    HeaderError,
    Person,
    Raw,
    draft,
    inline_css,
    read_sender,
)
from postroad.generate.template import TemplateSyntaxError
from postroad.inject.http.faults import Code, Faults
from postroad.inject.http.shapes import AttachedFile, Override, Sender, TransmissionContent
from postroad.message.address import AddressError, parse_mailbox

_FIRST_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
# As SMTP's max_line_length by default; hosts further on refuse or cut longer lines (RFC 5322 allows 998).
_MAX_LINE = 65_536
_WHITE = str.maketrans("", "", " \t\r\n")
INLINE = ("text", "html", "subject", "from", "reply_to", "headers", "attachments", "inline_images")


def given_members(content: TransmissionContent) -> list[str]:
    """Those of inline content that are there."""
    return [name for name in INLINE if getattr(content, "sender" if name == "from" else name) is not None]


def prepare(
    content: TransmissionContent,
    *,
    substitute: bool,
    css: bool = False,
    override: Override | None = None,
    boundary: Callable[[], str],
    faults: Faults,
) -> Draft | Raw | None:
    """Check the content and build what can be built without a recipient. None: faults were added.

    substitute: options.perform_substitutions; css: options.inline_css. boundary: as for generate.draft.
    """
    finish = inline_css if css else None
    if content.email_rfc822 is not None:
        given = given_members(content)
        if given:
            faults.add(Code.INVALID_COMBINATION, f"content.email_rfc822 can not be combined with {', '.join(given)}")
            return None
        return _raw(content.email_rfc822, substitute, finish, faults)
    return _inline(content, substitute, finish, override or Override(), boundary, faults)


def _inline(
    content: TransmissionContent,
    substitute: bool,
    finish: Callable[[str], str] | None,
    override: Override,
    boundary: Callable[[], str],
    faults: Faults,
) -> Draft | None:
    before = len(faults)
    sender = _sender(content.sender, faults)
    headers: Mapping[str, str] = {k: value for k, value in (content.headers or {}).items() if value is not None}
    literal: dict[str, str] = {}
    if override.sender is not None:
        person = _sender(override.sender, faults, "override.from")
        if person is not None:
            sender = Person(person.name or (sender.name if sender else ""), person.email)
    if override.list_id is not None:
        literal["List-Id"] = override.list_id
        headers = {name: value for name, value in headers.items() if name.lower() != "list-id"}
    if content.subject is None:
        faults.add(Code.MISSING_FIELD, "content.subject is a required field")
    if content.text is None and content.html is None:
        faults.add(Code.MISSING_FIELD, "At least one of 'text' or 'html' must exist in content")
    attachments = _files("attachments", content.attachments or [], faults)
    images = _files("inline_images", content.inline_images or [], faults)
    if len(faults) > before:
        # What could not be read is left out, so that the rest is still checked.
        if sender is None:
            sender = Person("", "nobody@invalid")
        text: str | None = content.text or ""
    else:
        # An empty text beside an html part says nothing: a reader that prefers text would show an empty message.
        text = content.text if content.text or content.html is None else None
    assert sender is not None
    try:
        made = draft(
            Content(
                sender=sender,
                subject=content.subject or "",
                text=text,
                html=content.html,
                amp_html=content.amp_html,
                reply_to=content.reply_to or "",
                headers=headers,
                literal_headers=literal,
                literal_reply_to=override.reply_to,
                literal_sender=override.sender is not None,
                attachments=attachments,
                inline_images=images,
            ),
            boundary,
            substitute=substitute,
            finish=finish,
        )
    except BuildErrors as problem:
        _tell(problem, faults)
        return None
    return None if len(faults) > before else made


def _tell(problem: BuildErrors, faults: Faults) -> None:
    for error in problem.errors:
        if isinstance(error, TemplateSyntaxError):
            faults.add(Code.TEMPLATE_SYNTAX, str(error), part=error.part, line=error.line)
        else:
            code = Code.INVALID_HEADER if isinstance(error, HeaderError) else Code.MIME_CONSTRUCTION
            faults.add(code, f"content.{error.field[:100]} {error.problem}")


def _sender(value: str | Sender | None, faults: Faults, where: str = "content.from") -> Person | None:
    """The From person, or None: a fault was added."""
    if isinstance(value, Sender):
        person = Person(value.name or "", (value.email or "").strip())
        missing = f"{where}.email is a required field"
    else:
        missing = f"{where} is a required field"
        try:
            person = read_sender(value or "")
        except HeaderError as error:
            faults.add(Code.INVALID_HEADER, f"{where}: {error.problem}")
            return None
    if not person.email:
        faults.add(Code.MISSING_FIELD, missing)
        return None
    # With statements in it, it is checked once they are filled in.
    problem = None if "{{" in person.email else address_problem(person.email)
    if problem is not None:
        faults.add(problem[0], f"{where}: {problem[1]}")
        return None
    return person


def address_problem(address: str) -> tuple[Code, str] | None:
    """What is wrong with a sender address, or None."""
    if address.startswith("@"):
        return Code.NO_LOCAL_PART, f"{address[:320]!r} has nothing before the @"
    try:
        parse_mailbox(address)
    except AddressError as error:
        return Code.INVALID_FORMAT, f"{address[:320]!r}: {error}"
    return None


def _files(member: str, files: list[AttachedFile], faults: Faults) -> list[Attachment]:
    made = []
    for number, file in enumerate(files):
        where = f"content.{member}[{number}]"
        if file.type is None or file.data is None:
            for name, value in (("type", file.type), ("data", file.data)):
                if value is None:
                    faults.add(Code.MISSING_FIELD, f"{where}.{name} is a required field")
            continue
        try:
            # Strict: characters outside the alphabet would be dropped silently, and the file damaged.
            data = binascii.a2b_base64(file.data.translate(_WHITE), strict_mode=True)
        except ValueError:  # binascii.Error, or non-ASCII text
            faults.add(Code.MIME_CONSTRUCTION, f"{where}.data is not base64")
            continue
        made.append(Attachment(file.name or "", file.type, data))
    return made


def _raw(text: str, substitute: bool, finish: Callable[[str], str] | None, faults: Faults) -> Raw | None:
    content = _crlf(text.encode(errors="replace"))
    if b"\0" in content:
        faults.add(Code.MIME_PARSE, "content.email_rfc822 holds a NUL character")
        return None
    if len(content) > _MAX_LINE and max(map(len, content.split(b"\r\n"))) > _MAX_LINE:
        faults.add(Code.MIME_PARSE, f"content.email_rfc822 has a line of more than {_MAX_LINE} octets")
        return None
    if not _FIRST_FIELD.match(content):
        faults.add(Code.MIME_PARSE, "content.email_rfc822 does not begin with a header field")
        return None
    try:
        return Raw(content, substitute=substitute, finish=finish)
    except BuildErrors as problem:
        if any(not isinstance(error, TemplateSyntaxError) and error.field == "from" for error in problem.errors):
            text = "No sending domain specified: content.email_rfc822 needs one From address"
            faults.add(Code.INVALID_DOMAIN, text)
        else:
            _tell(problem, faults)
        return None


def _crlf(content: bytes) -> bytes:
    """Lone CR and LF become CRLF (api.md 2.5 D), and the last line gets its end."""
    if not content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r"):
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return content if content.endswith(b"\r\n") else content + b"\r\n"
