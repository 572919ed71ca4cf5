"""What a message is filled with for one recipient, and the slots that take it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from postroad.generate.template import AMP, HTML, TEXT, Click, Kind, Part, Template, compile, verbatim

_BODY_TAG = re.compile(r"<body(?:\s[^<>]{0,2000})?>", re.IGNORECASE)
_END = re.compile(r"</body\s*>", re.IGNORECASE)
PARTS = {"text": TEXT, "html": HTML, "amp_html": AMP}


class Snippets(Protocol):
    """Stored snippets as compiled templates; None: there is none of this id, or it lacks such a part."""

    def snippet(self, identifier: str, kind: Kind) -> Template | None: ...


class Filling(NamedTuple):
    """One recipient's. to, date, message_id, unsubscribe: whole header fields with CRLF, or empty. data: what templates
    see (see template.namespace). track: as for Template.render; None: links stay as they are. top, bottom: HTML of the
    pixels, or empty."""

    to: bytes = b""
    date: bytes = b""
    message_id: bytes = b""
    data: Mapping[str, object] = {}
    track: Callable[[Click], str | None] | None = None
    top: str = ""
    bottom: str = ""
    unsubscribe: bytes = b""
    snippets: Snippets | None = None


class Letter(NamedTuple):
    """A message for one recipient. sender: the From address. smtputf8: its header needs RFC 6531. trace: fields to go
    in front of content, which stays as it came."""

    content: bytes
    sender: str
    subject: str
    smtputf8: bool
    trace: bytes = b""


class TextSlot:
    """A text, html or amp_html part. Raises TemplateSyntaxError when it is made.

    finish: what is done to the rendered text before pixels come in. fixed: the text, where no data can change it.
    """

    __slots__ = ("_as_given", "_finish", "_kind", "_template", "fixed", "trackable")

    def __init__(
        self,
        source: str,
        part: Part,
        *,
        substitute: bool,
        finish: Callable[[str], str] | None = None,
    ) -> None:
        self._template = (compile if substitute else verbatim)(source, part)
        self._kind = part.kind
        self._finish = finish
        self.trackable = self._template.tracked > 0 or part.kind is Kind.HTML
        self.fixed: str | None = None
        if not substitute or "{{" not in source:
            self.fixed = self._done(self._template.render({}))
        self._as_given = self.fixed == source

    def untouched(self, filling: Filling) -> bool:
        """Would this recipient get the text as it was given?"""
        return self._as_given and self.is_fixed(filling)

    def is_fixed(self, filling: Filling) -> bool:
        """Would this recipient get what `fixed` is?"""
        if self.fixed is None or (filling.track is not None and self._template.tracked):
            return False
        return self._kind is not Kind.HTML or not (filling.top or filling.bottom)

    def text(self, filling: Filling) -> str:
        """Raises TemplateRenderError, BuildError."""
        track = filling.track
        if self.fixed is not None and (track is None or not self._template.tracked):
            text = self.fixed
        else:
            text = self._done(
                self._template.render(filling.data, snippets=resolver(filling.snippets, self._kind), track=track)
            )
        if self._kind is Kind.HTML and (filling.top or filling.bottom):
            return with_pixels(text, filling.top, filling.bottom)
        return text

    def _done(self, text: str) -> str:
        return text if self._finish is None else self._finish(text)


def resolver(snippets: Snippets | None, kind: Kind) -> Callable[[str], Template | None] | None:
    if snippets is None:
        return None
    return lambda identifier: snippets.snippet(identifier, kind)


def with_pixels(html: str, top: str, bottom: str) -> str:
    """The pixel for an early look right behind <body>, where there is one in an <html>; the other before </body>, else
    at the end (api.md 10.3)."""
    if top and "<html" in html[:10_000].lower():
        body = _BODY_TAG.search(html)
        if body:
            html = html[: body.end()] + top + html[body.end() :]
    if not bottom:
        return html
    end = html.rfind("</body>")
    if end < 0:
        ends = [found.start() for found in _END.finditer(html)]
        end = ends[-1] if ends else len(html)
    return html[:end] + bottom + html[end:]
