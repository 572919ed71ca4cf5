"""Making the program of a source: statements are matched with their ends, every tag gets the escaping of its place."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from postroad.generate.template import clicks, program, values
from postroad.generate.template.clicks import LinkParts
from postroad.generate.template.errors import Fault
from postroad.generate.template.expressions import expression as compiled
from postroad.generate.template.frame import Act, Escape, Value
from postroad.generate.template.limits import Limits
from postroad.generate.template.links import Link, links
from postroad.generate.template.needs import Needs
from postroad.generate.template.scan import Span, Tag, tags, unwritten
from postroad.generate.template.syntax import CURLIES, Call, Expression, near, read

_RENDERS = frozenset({"render_snippet", "render_dynamic_content"})


class Kind(Enum):
    """What a part is, which decides how values are escaped and where links are."""

    HTML = "html"
    AMP = "amp_html"
    TEXT = "text"
    HEADER = "header"


@dataclass(slots=True)
class _Open:
    """A block whose end has not come. Its parts are those of the branch that is being read."""

    word: str
    at: int
    condition: Expression | None = None
    parts: list[str | Act] = field(default_factory=list)
    cost: int = 1
    branches: list[tuple[Value, Act]] = field(default_factory=list)
    otherwise: bool = False

    def close(self) -> Act:
        return program.block(self.parts, self.cost, self.at)


class Builder:
    """Builds one source. After build(): act, needs, and how many links may be tracked."""

    def __init__(self, source: str, kind: Kind, limits: Limits, *, embedded: bool, statements: bool) -> None:
        self._source = source
        self._kind = kind
        self._depth = limits.depth
        self._embedded = embedded
        self._marked = kind is not Kind.HEADER
        self._html = kind in (Kind.HTML, Kind.AMP)
        self.needs = Needs()
        self.tracked = 0
        self._tags = tags(source, amp=kind is Kind.AMP, most=limits.tags) if statements else []
        self._starts = [tag.start for tag in self._tags]
        found = links(source, self._tags, html=self._html) if self._marked else None
        self._links = found.links if found else []
        self._marks = sorted(found.cuts) if found else []
        self._cuts = _joined([*self._marks, *unwritten(source, self._tags)])
        self._cut_ends = [cut.end for cut in self._cuts]
        self._stack = [_Open("", 0)]

    def build(self) -> Act:
        """Raises Fault."""
        steps: list[Tag | Link] = [*self._outside(), *(link for link in self._links)]
        at = 0
        for step in sorted(steps, key=_start):
            span = step if isinstance(step, Tag) else step.url
            self._literal(at, span.start)
            if isinstance(step, Tag):
                self._tag(step)
            else:
                self._link(step)
            at = span.end
        self._literal(at, len(self._source))
        top = self._stack.pop()
        if self._stack:
            line = self._source.count("\n", 0, top.at) + 1
            raise Fault(f"'end' expected (to close '{top.word}' at line {line}) near '<eof>'", len(self._source))
        return top.close()

    def _outside(self) -> list[Tag]:
        """The tags that are neither in a link nor in what is said about one."""
        inside: set[int] = set()
        for span in (*(link.url for link in self._links), *self._marks):
            inside.update(range(*self._within(span)))
        return [tag for number, tag in enumerate(self._tags) if number not in inside]

    def _within(self, span: Span) -> tuple[int, int]:
        return bisect_left(self._starts, span.start), bisect_left(self._starts, span.end)

    def _literal(self, start: int, end: int) -> None:
        parts = self._stack[-1].parts
        number = bisect_right(self._cut_ends, start)
        while start < end:
            cut = self._cuts[number] if number < len(self._cuts) else None
            stop = end if cut is None else min(max(cut.start, start), end)
            if start < stop:
                parts.append(self._source[start:stop])
            start = end if cut is None else max(cut.end, stop)
            number += 1

    # Tags

    def _tag(self, tag: Tag) -> None:
        word, expression, cost = read(self._source, tag.inside.start, tag.inside.end)
        top = self._stack[-1]
        if not word:
            assert expression is not None
            self._write(top, tag, expression, values.html if self._html else None, cost)
            return
        if word in ("if", "each"):
            if len(self._stack) > self._depth:
                raise Fault(f"statements are nested more than {self._depth} levels deep", tag.start)
            assert expression is not None
            self.needs.enter(word, expression, tag.start)
            top.cost += cost + 1
            self._stack.append(_Open(word, tag.start, expression))
        elif word == "end":
            if not top.word:
                raise near("end", tag.inside.start)
            self._end(self._stack.pop())
        else:
            if top.word != "if" or top.otherwise:
                raise near(word, tag.inside.start)
            self._branch(top)
            self.needs.turn(expression, tag.start)
            top.condition = expression
            top.otherwise = word == "else"
            # The conditions of all branches are paid for at once, by what holds them.
            self._stack[-2].cost += cost

    def _branch(self, block: _Open) -> None:
        assert block.condition is not None
        block.branches.append((compiled(block.condition), block.close()))
        block.parts, block.cost = [], 1

    def _end(self, block: _Open) -> None:
        self.needs.leave()
        outer = self._stack[-1].parts
        if block.word == "each":
            assert block.condition is not None
            outer.append(program.repeat(block.condition, block.close(), block.at))
            return
        otherwise = None
        if block.otherwise:
            otherwise = block.close()
        else:
            self._branch(block)
        outer.append(program.choose(block.branches, otherwise))

    def _write(self, top: _Open, tag: Tag, expression: Expression, escape: Escape | None, cost: int) -> None:
        top.cost += cost + 1
        if isinstance(expression, Call) and expression.name in CURLIES:
            top.parts.append(CURLIES[expression.name])
            return
        self.needs.use(expression)
        if isinstance(expression, Call) and expression.name in _RENDERS:
            if self._embedded:
                raise near(expression.name, expression.at, "not within snippets")
            make: Callable[[Expression, int], Act]
            make = program.snippet if expression.name == "render_snippet" else program.dynamic
            top.parts.append(make(expression.arguments[0], tag.start))
            return
        top.parts.append(program.write(expression, None if tag.raw else escape, tag.start))

    # Links

    def _link(self, link: Link) -> None:
        top = self._stack[-1]
        url = self._piece(link.url, values.percent)
        off = link.marks.get("data-msys-clicktrack")
        if not link.tracked or (off is not None and self._text(off) == "0"):
            top.parts.append(url)
            return
        unsubscribe = link.marks.get("data-msys-unsubscribe")
        parts = LinkParts(
            url,
            self._word(link, "data-msys-linkname"),
            self._word(link, "data-msys-sublink"),
            unsubscribe is not None and self._text(unsubscribe) == "1",
            self.tracked,
        )
        self.tracked += 1
        top.cost += 1
        top.parts.append(clicks.link(parts, html=self._html, at=link.url.start))

    def _text(self, span: Span) -> str:
        return self._source[span.start : span.end]

    def _word(self, link: Link, name: str) -> str | Act:
        span = link.marks.get(name)
        return "" if span is None else self._piece(span, values.html if self._html else None)

    def _piece(self, span: Span, escape: Escape | None) -> str | Act:
        """A stretch of source without statements."""
        first, last = self._within(span)
        if first == last:
            return self._text(span)
        piece = _Open("", span.start)
        at = span.start
        for tag in self._tags[first:last]:
            if at < tag.start:
                piece.parts.append(self._source[at : tag.start])
            _, expression, cost = read(self._source, tag.inside.start, tag.inside.end)
            assert expression is not None
            self._write(piece, tag, expression, escape, cost)
            at = tag.end
        if at < span.end:
            piece.parts.append(self._source[at : span.end])
        return piece.close()


def _start(step: Tag | Link) -> int:
    return step.start if isinstance(step, Tag) else step.url.start


def _joined(spans: Sequence[Span]) -> list[Span]:
    """In order, and apart from each other."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found
