"""A whole message as a template: its header fields and the texts in it that are substituted (api.md 2.5 D)."""

from __future__ import annotations

import re

from postroad.generate.template import Kind, Part, header
from postroad.message.header import decode_words, header_end
from postroad.message.mime import parse_mime

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r]|\r(?!\n)|\r\n[ \t])*)(?:\r\n|\Z)")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_KINDS = {
    "text/plain": ("text", Kind.TEXT),
    "text/html": ("html", Kind.HTML),
    "text/x-amp-html": ("amp_html", Kind.AMP),
}
_OWN = {"from": "from", "subject": "subject", "reply-to": "reply_to"}


def rfc822_parts(raw: str) -> list[tuple[tuple[str, ...], str, Part]]:
    """(path as in Rendered, source, part) of all that is substituted. Raises ValueError: it is no message."""
    content = _crlf(raw.encode())
    if b"\0" in content:
        raise ValueError("holds a NUL character")
    if not _FIELD.match(content):
        raise ValueError("does not begin with a header field")
    found: list[tuple[tuple[str, ...], str, Part]] = []
    for match in _FIELD.finditer(content, 0, header_end(content)):
        name = match[1].decode("ascii")
        if name.lower().startswith(("content-", "mime-version")):
            continue
        value = decode_words(_FOLD.sub(b"", match[2]).strip())
        own = _OWN.get(name.lower())
        found.append(((own,) if own else ("headers", name), value, header(name)))
    if not any(path == ("from",) for path, _, _ in found):
        raise ValueError("has no From field")
    seen: set[str] = set()
    for entity in parse_mime(content).walk():
        if entity.type in _KINDS and entity.disposition != "attachment" and entity.type not in seen:
            seen.add(entity.type)
            name, kind = _KINDS[entity.type]
            found.append(((name,), entity.text(content).replace("\r\n", "\n"), Part(kind, entity.type)))
    return found


def _crlf(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
