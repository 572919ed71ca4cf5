"""The content of a transmission (api.md 2.5), made ready: a Draft for inline content, one body for email_rfc822."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable

from postroad.generate import (
    Attachment,
    BuildErrors,
    Content,
    Draft,
    HeaderError,
    Person,
    draft,
    parse_people,
)
from postroad.inject.http.faults import Code, Faults
from postroad.inject.http.shapes import AttachedFile, Sender, TransmissionContent
from postroad.message import Body
from postroad.message.address import AddressError, parse_mailbox
from postroad.message.header import count, decode_words, field, header_end

_FIRST_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
# As SMTP's max_line_length by default; hosts further on refuse or cut longer lines (RFC 5322 allows 998).
_MAX_LINE = 65_536
_WHITE = str.maketrans("", "", " \t\r\n")
_INLINE = ("text", "html", "subject", "from", "reply_to", "headers", "attachments", "inline_images")
_BRACES = (
    "the template language is not available in this version, so {{ can not be sent here; "
    "with options.perform_substitutions false, text and html are sent as they are"
)


class Prepared:
    """Content that only lacks its recipient.

    sender: the From address. shared: every recipient gets the same octets. smtputf8: the header needs RFC 6531.
    """

    __slots__ = ("_draft", "_raw", "amp", "sender", "shared", "smtputf8", "subject")

    def __init__(self, content: Draft | bytes, sender: str, subject: str, *, amp: bool = False) -> None:
        self._draft = content if isinstance(content, Draft) else None
        self._raw = content if isinstance(content, bytes) else b""
        self.sender = sender
        self.subject = subject
        self.amp = amp
        self.shared = self._draft is None
        self.smtputf8 = self._draft is not None and self._draft.smtputf8

    def __len__(self) -> int:
        return len(self._raw) if self._draft is None else len(self._draft)

    def body(self, *, to: bytes, date: bytes, message_id: bytes) -> Body:
        """to, date, message_id: whole fields with CRLF. A raw message gets no To, and of the others what it lacks."""
        if self._draft is not None:
            content = self._draft.render(to=to, date=date, message_id=message_id)
            return Body(content, dotted=self._draft.dotted)
        end = header_end(self._raw)
        trace = b"" if count(self._raw, b"Date", end) else date
        return Body(self._raw, trace if count(self._raw, b"Message-ID", end) else trace + message_id)


def prepare(
    content: TransmissionContent, *, substitute: bool, boundary: Callable[[], str], faults: Faults
) -> Prepared | None:
    """Check the content and build what can be built without a recipient. None: faults were added.

    substitute: options.perform_substitutions. boundary: as for generate.draft.
    """
    given = [name for name in _INLINE if getattr(content, "sender" if name == "from" else name) is not None]
    if content.template_id is not None:
        if {"subject", "text", "html"} & set(given):
            faults.add(Code.INVALID_COMBINATION, "Both content object and template_id are specified")
        else:
            _absent(faults, "template", content.template_id, "stored templates")
        return None
    if content.ab_test_id is not None:
        _absent(faults, "ab_test_id", content.ab_test_id, "A/B tests")
        return None
    if content.email_rfc822 is not None:
        if given:
            faults.add(Code.INVALID_COMBINATION, f"content.email_rfc822 can not be combined with {', '.join(given)}")
            return None
        return _raw(content.email_rfc822, substitute, faults)
    return _inline(content, substitute, boundary, faults)


def _absent(faults: Faults, kind: str, name: str, feature: str) -> None:
    faults.add(Code.NO_SUBRESOURCE, f"{kind} '{name[:64]}' does not exist: {feature} are not available in this version")


def _inline(
    content: TransmissionContent, substitute: bool, boundary: Callable[[], str], faults: Faults
) -> Prepared | None:
    before = len(faults)
    sender = _sender(content.sender, faults)
    if content.subject is None:
        faults.add(Code.MISSING_FIELD, "content.subject is a required field")
    if content.text is None and content.html is None:
        faults.add(Code.MISSING_FIELD, "At least one of 'text' or 'html' must exist in content")
    headers = {name: value for name, value in (content.headers or {}).items() if value is not None}
    _refuse_braces(content, headers, substitute, faults)
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
                attachments=attachments,
                inline_images=images,
            ),
            boundary,
        )
    except BuildErrors as problem:
        for error in problem.errors:
            code = Code.INVALID_HEADER if isinstance(error, HeaderError) else Code.MIME_CONSTRUCTION
            faults.add(code, f"content.{error.field[:100]} {error.problem}")
        return None
    if len(faults) > before:
        return None
    return Prepared(made, sender.email, content.subject or "", amp=content.amp_html is not None)


def _sender(value: str | Sender | None, faults: Faults) -> Person | None:
    """The From person, or None: a fault was added."""
    if isinstance(value, Sender):
        person = Person(value.name or "", (value.email or "").strip())
        missing = "content.from.email is a required field"
    else:
        missing = "content.from is a required field"
        try:
            people = parse_people("from", value or "")
        except HeaderError as error:
            faults.add(Code.INVALID_HEADER, f"content.{error}")
            return None
        if len(people) > 1:
            faults.add(Code.INVALID_FORMAT, "content.from must be one address")
            return None
        person = people[0] if people else Person("", "")
    if not person.email:
        faults.add(Code.MISSING_FIELD, missing)
        return None
    problem = address_problem(person.email)
    if problem is not None:
        faults.add(problem[0], f"content.from: {problem[1]}")
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


def _refuse_braces(content: TransmissionContent, headers: dict[str, str], substitute: bool, faults: Faults) -> None:
    """Nobody shall be mailed raw template code. Headers are substituted always (api.md 2.3), parts on wish."""
    sender = content.sender
    texts = [("from", f"{sender.name} {sender.email}" if isinstance(sender, Sender) else sender)]
    texts += [("subject", content.subject), ("reply_to", content.reply_to)]
    texts += [(f"headers.{name[:76]}", value) for name, value in headers.items()]
    if substitute:
        texts += [("text", content.text), ("html", content.html), ("amp_html", content.amp_html)]
    for name, text in texts:
        if text is not None and "{{" in text:
            faults.add(Code.TEMPLATE_SYNTAX, f"content.{name}: {_BRACES}")


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


def _raw(text: str, substitute: bool, faults: Faults) -> Prepared | None:
    content = _crlf(text.encode(errors="replace"))
    end = header_end(content)
    if b"\0" in content:
        faults.add(Code.MIME_PARSE, "content.email_rfc822 holds a NUL character")
        return None
    if len(content) > _MAX_LINE and max(map(len, content.split(b"\r\n"))) > _MAX_LINE:
        faults.add(Code.MIME_PARSE, f"content.email_rfc822 has a line of more than {_MAX_LINE} octets")
        return None
    if not _FIRST_FIELD.match(content):
        faults.add(Code.MIME_PARSE, "content.email_rfc822 does not begin with a header field")
        return None
    if b"{{" in (content if substitute else content[:end]):
        faults.add(Code.TEMPLATE_SYNTAX, f"content.email_rfc822: {_BRACES}")
        return None
    sender = _raw_sender(content, end)
    if sender is None:
        faults.add(Code.INVALID_DOMAIN, "No sending domain specified: content.email_rfc822 needs one From address")
        return None
    return Prepared(content, sender, decode_words(field(content, b"Subject", end) or b""))


def _crlf(content: bytes) -> bytes:
    """Lone CR and LF become CRLF (api.md 2.5 D), and the last line gets its end."""
    if not content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r"):
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _raw_sender(content: bytes, end: int) -> str | None:
    """The one address of the one From field, or None."""
    if count(content, b"From", end) != 1:
        return None
    value = (field(content, b"From", end) or b"").decode(errors="replace")
    try:
        people = parse_people("from", value)
        if len(people) == 1 and parse_mailbox(people[0].email):
            return people[0].email
    except (HeaderError, AddressError):
        pass
    return None
