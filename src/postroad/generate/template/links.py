"""Links of a source: where they are, and what is said about them (api.md 4.10).

A link is known by `http://` or `https://` standing in the source. A link that a statement touches is none: what stands
there is only part of an address. Nor is one with white space inside its braces, as the API documents.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field

from postroad.generate.template.errors import Fault
from postroad.generate.template.scan import Span, Tag

MARKS = frozenset({"data-msys-linkname", "data-msys-unsubscribe", "data-msys-clicktrack", "data-msys-sublink"})
# Only these may hold expressions; the others are switches.
_WORDS = frozenset({"data-msys-linkname", "data-msys-sublink"})

# Tags are masked by one of these, so that nothing inside of them is taken for text around them.
_PLAIN, _SPACED, _STATEMENT = "\x01", "\x02", "\x03"
_URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_ANCHOR = re.compile(r"<(?:a|area)(?=[\s/])(?:[^<>\"']++|\"[^\"]{0,20000}+\"|'[^']{0,20000}+')*+>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"(?<![\s/])[\s/]++([^\s\"'<>/=]++)(?:\s*+=\s*+(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'<>]+)))?")
_TEXT_MARKS = re.compile(r"\[\[\s*data-msys-[^\[\]]{0,2000}\]\]")
_TEXT_MARK = re.compile(r"\s*(data-msys-[a-z]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')\s*")
# What ends a sentence, not an address.
_TRAILING = ".,;:!?"


@dataclass(slots=True)
class Link:
    """tracked: a click on it may be counted. marks: the value of each data-msys attribute by name, as a span of the
    source."""

    url: Span
    tracked: bool
    marks: dict[str, Span] = field(default_factory=dict)


@dataclass(slots=True)
class Links:
    """links in the order of the source; cuts: spans that are not written (the marks)."""

    links: list[Link]
    cuts: list[Span]


def links(source: str, tags: list[Tag], *, html: bool) -> Links:
    """Raises Fault for a mark that makes no sense."""
    masked = _mask(source, tags)
    found = [link for match in _URL.finditer(masked) if (link := _link(masked, match.start(), match.end(), html))]
    result = Links(found, [])
    if html:
        _html_marks(masked, result)
    else:
        _text_marks(masked, result)
    return result


def _mask(source: str, tags: list[Tag]) -> str:
    parts: list[str] = []
    at = 0
    for tag in tags:
        inside = source[tag.inside.start : tag.inside.end]
        mark = _STATEMENT if tag.statement else _SPACED if re.search(r"\s", inside) else _PLAIN
        parts += (source[at : tag.start], mark * (tag.end - tag.start))
        at = tag.end
    return "".join((*parts, source[at:]))


def _link(masked: str, start: int, end: int, html: bool) -> Link | None:
    if not html:
        marks = masked.find("[[", start, end)
        end = marks if marks >= 0 else end
        end = start + len(masked[start:end].rstrip(_TRAILING))
        surplus = masked.count(")", start, end) - masked.count("(", start, end)
        while surplus > 0 and masked[end - 1] == ")":
            end -= 1
            surplus -= 1
    url = masked[start:end]
    if _SPACED in url or _STATEMENT in url or url.endswith("://"):
        return None
    if start and masked[start - 1] == _STATEMENT:
        return None
    return Link(Span(start, end), tracked=not html)


def _html_marks(masked: str, found: Links) -> None:
    begins = [link.url.start for link in found.links]
    for anchor in _ANCHOR.finditer(masked):
        hrefs: list[Span] = []
        marks: dict[str, Span] = {}
        for attribute in _ATTRIBUTE.finditer(masked, anchor.start() + 2, anchor.end() - 1):
            name = attribute[1].lower()
            group = next((number for number in (2, 3, 4) if attribute[number] is not None), 0)
            value = Span(*attribute.span(group)) if group else Span(attribute.end(), attribute.end())
            if name == "href":
                hrefs.append(value)
            elif name.startswith("data-msys-"):
                found.cuts.append(Span(*attribute.span()))
                _mark(marks, name, value, masked, attribute.start())
        for href in hrefs:
            at = bisect_left(begins, href.start)
            if at < len(begins) and begins[at] < href.end and not masked[href.start : begins[at]].strip():
                found.links[at].tracked = True
                found.links[at].marks = marks


def _text_marks(masked: str, found: Links) -> None:
    ends = {link.url.end: link for link in found.links}
    for match in _TEXT_MARKS.finditer(masked):
        found.cuts.append(Span(*match.span()))
        link = ends.get(match.start())
        marks = link.marks if link else {}
        at = match.start() + 2
        while at < match.end() - 2:
            mark = _TEXT_MARK.match(masked, at, match.end() - 2)
            if mark is None:
                raise Fault('syntax error in link attributes: [[name="value"]] is the form', at)
            _mark(marks, mark[1], Span(*mark.span(2 if mark[2] is not None else 3)), masked, at)
            at = mark.end()


def _mark(marks: dict[str, Span], name: str, value: Span, masked: str, at: int) -> None:
    if name not in MARKS:
        raise Fault(f"unknown link attribute '{name}'", at)
    text = masked[value.start : value.end]
    if _STATEMENT in text or (name not in _WORDS and (_PLAIN in text or _SPACED in text)):
        raise Fault(f"{name} can not hold such a substitution statement", at)
    if name not in _WORDS and text not in ("0", "1"):
        raise Fault(f'{name} must be "0" or "1"', at)
    marks[name] = value
