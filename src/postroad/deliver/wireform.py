"""A message as DATA carries it (RFC 5321 4.5.2)."""

from __future__ import annotations

from collections.abc import Iterator

from postroad.message import Body

# The mark that ends a message, behind a line end.
END = b".\r\n"
_LINE_AND_END = b"\r\n.\r\n"


def wire_form(body: Body) -> Iterator[bytes]:
    """The message as DATA carries it, in pieces that need not be joined: dots stuffed, a final line end, the end mark
    (RFC 5321 4.5.2). Content that does not end in CRLF gets one: without it the end mark would not be one."""
    content = body.content
    if body.trace:
        yield body.trace
    if body.dotted:
        # Also behind a bare LF, which content should not hold: a host that takes LF for a line end could otherwise be
        # made to see an end mark inside the message (SMTP smuggling).
        content = content.replace(b"\n.", b"\n..")
        if content.startswith(b"."):
            content = b"." + content
    if content:
        yield content
    yield END if not content or content.endswith(b"\r\n") else _LINE_AND_END
