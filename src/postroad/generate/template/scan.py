"""Where the tags of a source are, and which white space around them is not written (api.md 4.3, 4.9, 4.12)."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from postroad.generate.template.errors import Fault
from postroad.generate.template.syntax import CURLIES, STRING

_STOP = re.compile(rf"\}}\}}|{STRING}|['\"]")
_STATEMENT = re.compile(r"\s*(?:if|elseif|else|each|end)\b")
_END = re.compile(r"\s*end\s*\Z")
_LINE_REST = re.compile(r"[ \t]*(?:\r?\n|\Z)")
_AMP_TEMPLATE = re.compile(
    r"<template\b[^<>]{0,1000}?\btype\s{0,20}=\s{0,20}[\"']?amp-mustache\b[^<>]{0,1000}+>", re.IGNORECASE
)
_AMP_END = re.compile(r"</template\s{0,20}>", re.IGNORECASE)
_AMP_OURS = re.compile(rf"sparkpost|loop_var|\A\s*(?:else|end)\s*\Z|\A\s*(?:{'|'.join(CURLIES)})\s*\(")


class Span(NamedTuple):
    start: int
    end: int


class Tag(NamedTuple):
    """source[start:end] with the braces, source[inside.start:inside.end] without."""

    start: int
    end: int
    inside: Span
    raw: bool
    statement: bool


def tags(source: str, *, amp: bool, most: int) -> list[Tag]:
    """Every tag that is ours, in order. Raises Fault for one without end, or for more than `most`."""
    found: list[Tag] = []
    theirs = _mustache(source) if amp else []
    begins = [span.start for span in theirs]
    at = source.find("{{")
    while at >= 0:
        raw = source.startswith("{{{", at)
        inside = at + (3 if raw else 2)
        closing = _closing(source, inside, "}}}" if raw else "}}")
        if closing < 0:
            raise Fault("substitution statement missing ending '" + ("}}}" if raw else "}}") + "'", at)
        end = closing + inside - at
        text = source[inside:closing]
        region = bisect_right(begins, at) - 1
        if not (region >= 0 and at < theirs[region].end and not _AMP_OURS.search(text)):
            if len(found) == most:
                raise Fault(f"more than {most} substitution statements", at)
            found.append(Tag(at, end, Span(inside, closing), raw, _STATEMENT.match(text) is not None))
        at = source.find("{{", end)
    return found


def _closing(source: str, at: int, braces: str) -> int:
    """Where the closing braces begin, not counting those in strings."""
    while (found := _STOP.search(source, at)) is not None:
        if found[0] == "}}":
            if source.startswith(braces, found.start()):
                return found.start()
            at = found.start() + 1
        elif len(found[0]) == 1:
            # A quote without its partner: the tag is wrong, and ends where it seems to.
            return source.find(braces, at)
        else:
            at = found.end()
    return -1


def _mustache(source: str) -> list[Span]:
    """The insides of `<template type="amp-mustache">`, whose braces the reader's mail program fills in."""
    found = []
    at = 0
    while (opening := _AMP_TEMPLATE.search(source, at)) is not None:
        closing = _AMP_END.search(source, opening.end())
        at = closing.start() if closing else len(source)
        found.append(Span(opening.end(), at))
    return found


def unwritten(source: str, found: list[Tag]) -> list[Span]:
    """Lines with nothing but statements leave no line. An `end` before text joins it to the line before."""
    cuts: list[Span] = []
    number = 0
    while number < len(found):
        tag = found[number]
        if not tag.statement:
            number += 1
            continue
        before = tag.start
        lowest = found[number - 1].end if number else 0
        while before > lowest and source[before - 1] in " \t":
            before -= 1
        starts_line = before == 0 or source[before - 1] == "\n"
        last = number
        gaps = [Span(before, tag.start)]
        while last + 1 < len(found) and found[last + 1].statement:
            gap = Span(found[last].end, found[last + 1].start)
            if source[gap.start : gap.end].strip(" \t"):
                break
            gaps.append(gap)
            last += 1
        rest = _LINE_REST.match(source, found[last].end)
        if starts_line and rest is not None:
            cuts += gaps
            cuts.append(Span(found[last].end, rest.end()))
            number = last + 1
            continue
        if starts_line and before and _END.match(source[tag.inside.start : tag.inside.end]):
            newline = before - (2 if source.startswith("\r\n", before - 2) and before > 1 else 1)
            # The line before may have been nothing but statements: then its line end is gone already.
            if newline >= lowest and not (cuts and cuts[-1].end >= before):
                cuts.append(Span(newline, tag.start))
        # The others that follow with only blanks between stand on the same line: none of them begins one.
        number = last + 1
    return [cut for cut in cuts if cut.start < cut.end]
