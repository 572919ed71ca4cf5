"""A template: compiled once, rendered for each recipient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from postroad.generate.template.build import Builder, Kind
from postroad.generate.template.errors import Fault, TemplateRenderError, TemplateSyntaxError, place
from postroad.generate.template.frame import Act, Frame, Resolve, Track
from postroad.generate.template.limits import DEFAULT, Limits
from postroad.generate.template.needs import Needs

_BREAKS = re.compile(r"[\r\n\0]+")
# Dynamic content that stays compiled, by number and by characters, for each template.
_KEPT = 256
_KEPT_SIZE = 1_000_000


class Part(NamedTuple):
    """name: as errors name the part. An rfc822 body part is `Part(Kind.HTML, "text/html")`."""

    kind: Kind
    name: str


HTML = Part(Kind.HTML, "html")
TEXT = Part(Kind.TEXT, "text")
AMP = Part(Kind.AMP, "amp_html")


def header(name: str) -> Part:
    return Part(Kind.HEADER, f"Header:{name}")


class Template:
    """Made by compile() and snippet(). Safe to render from several threads: only a cache changes.

    tracked: how many links of it may be tracked; Click.number is below it.
    """

    __slots__ = ("_embedded", "_embedded_size", "_limits", "_source", "_verbatim", "act", "needs", "part", "tracked")

    def __init__(self, source: str, part: Part, limits: Limits, *, embedded: bool, statements: bool) -> None:
        """Raises Fault."""
        if len(source) > limits.source:
            raise Fault(f"template is larger than {limits.source} characters", 0)
        builder = Builder(source, part.kind, limits, embedded=embedded, statements=statements)
        self.act: Act = builder.build()
        self.needs: Needs = builder.needs
        self.tracked: int = builder.tracked
        self.part = part
        self._source = source
        self._verbatim = not statements
        self._limits = limits
        self._embedded: dict[str, Template | Fault] = {}
        self._embedded_size = 0

    def render(
        self,
        data: Mapping[str, object],
        *,
        limits: Limits = DEFAULT,
        snippets: Resolve | None = None,
        track: Track | None = None,
        strict: bool = True,
    ) -> str:
        """data: JSON values by name, one recipient's (see `namespace`).

        snippets: finds the compiled snippet of an id for this kind of part. track: gives links their addresses; without
        it they stay as they are, as previews want. strict: a member of a missing value is an error; if not, it is nil.
        In a header, line breaks and NUL are taken out of what comes out, so no value can add a field.
        Raises TemplateRenderError, and what the callables raise.
        """
        if self._verbatim and track is None:
            return self._source
        frame = Frame(self, data if isinstance(data, dict) else dict(data), limits, snippets, track, strict)
        try:
            self.act(frame)
        except Fault as fault:
            raise TemplateRenderError(fault.problem, self.part.name, *self.place(fault.at)) from None
        text = "".join(frame.out)
        return _BREAKS.sub("", text) if self.part.kind is Kind.HEADER else text

    def place(self, at: int) -> tuple[int, int]:
        """Line and column of an offset in the source."""
        return place(self._source, at)

    def embedded(self, source: str, what: str, at: int) -> Template:
        """Dynamic content for the place of this template, compiled. Raises Fault."""
        found = self._embedded.get(source)
        if found is None:
            try:
                found = Template(source, self.part, self._limits, embedded=False, statements=True)
            except Fault as fault:
                line, _ = place(source, fault.at)
                found = Fault(f"{what}: line {line}: {fault.problem}", at)
            if len(self._embedded) >= _KEPT or self._embedded_size + len(source) > _KEPT_SIZE:
                self._embedded.clear()
                self._embedded_size = 0
            self._embedded[source] = found
            self._embedded_size += len(source)
        if isinstance(found, Fault):
            raise Fault(found.problem, at)
        return found


def compile(source: str, part: Part, *, limits: Limits = DEFAULT) -> Template:
    """Raises TemplateSyntaxError."""
    return _compiled(source, part, limits, embedded=False, statements=True)


def snippet(source: str, part: Part, *, limits: Limits = DEFAULT) -> Template:
    """As compile(), for what render_snippet shows: it may not render snippets or dynamic content itself."""
    return _compiled(source, part, limits, embedded=True, statements=True)


def verbatim(source: str, part: Part, *, limits: Limits = DEFAULT) -> Template:
    """For `perform_substitutions: false`: nothing is substituted, but links may still be tracked."""
    return _compiled(source, part, limits, embedded=False, statements=False)


def _compiled(source: str, part: Part, limits: Limits, *, embedded: bool, statements: bool) -> Template:
    try:
        return Template(source, part, limits, embedded=embedded, statements=statements)
    except Fault as fault:
        raise TemplateSyntaxError(fault.problem, part.name, *place(source, fault.at)) from None
