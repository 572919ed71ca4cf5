"""Expressions and statements: what stands between the braces, read into a tree (api.md 4.3, 4.5, 4.8).

Written by hand: the grammar is seven levels of operators, and a general parser would neither be shorter nor say
`syntax error near 'age'`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from postroad.generate.template.errors import Fault

# Levels of nesting in one expression; a chain of operators nests too (a + b + c is (a + b) + c).
MAX_DEPTH = 100
# A value can't have these names.
_KEYWORDS = """
    and break do each else elseif end false for function if local nil not or return then true until while
"""
KEYWORDS = frozenset(_KEYWORDS.split())
STATEMENTS = frozenset({"if", "elseif", "else", "each", "end"})
CURLIES = {
    "opening_single_curly": "{",
    "closing_single_curly": "}",
    "opening_double_curly": "{{",
    "closing_double_curly": "}}",
    "opening_triple_curly": "{{{",
    "closing_triple_curly": "}}}",
}
DYNAMIC = frozenset({"dynamic_html", "dynamic_plain", "dynamic_amp_html"})

STRING = r"'(?:[^'\\\n]|\\(?s:.))*+'|\"(?:[^\"\\\n]|\\(?s:.))*+\""
_TOKEN = re.compile(
    rf"(?P<space>\s+)|(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    rf"|(?P<string>{STRING})|(?P<operator>==|~=|!=|<=|>=|[-+*/<>\#().\[\],])"
)
_ESCAPE = re.compile(rb"\\(?s:([0-9]{1,3})|(.))")
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_LEVELS = {
    "or": 1,
    "and": 2,
    "==": 3,
    "~=": 3,
    "!=": 3,
    "<": 3,
    ">": 3,
    "<=": 3,
    ">=": 3,
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
}


@dataclass(slots=True, frozen=True)
class Literal:
    value: bool | float | str | None
    at: int
    depth: int = 1


@dataclass(slots=True, frozen=True)
class Name:
    name: str
    at: int
    depth: int = 1


@dataclass(slots=True, frozen=True)
class Index:
    base: Expression
    key: Expression
    at: int
    depth: int


@dataclass(slots=True, frozen=True)
class Unary:
    operator: str
    operand: Expression
    at: int
    depth: int


@dataclass(slots=True, frozen=True)
class Binary:
    operator: str
    left: Expression
    right: Expression
    at: int
    depth: int


@dataclass(slots=True, frozen=True)
class Call:
    """A macro: `empty` anywhere in an expression, the others only as the whole of a tag."""

    name: str
    arguments: tuple[Expression, ...]
    at: int
    depth: int


Expression = Literal | Name | Index | Unary | Binary | Call


class Statement(NamedTuple):
    """word: of STATEMENTS, or "" for an expression to be written. cost: how much of an expression there is."""

    word: str
    expression: Expression | None
    cost: int


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def near(text: str, at: int, why: str = "") -> Fault:
    shown = text if len(text) <= 40 else text[:40] + "..."
    return Fault(f"syntax error near '{shown}'" + (f": {why}" if why else ""), at)


def read(source: str, start: int, end: int) -> Statement:
    """What the tag holds whose inside is source[start:end]. Raises Fault."""
    parser = _Parser(source, start, end)
    word = parser.token.text if parser.token.kind == "word" and parser.token.text in STATEMENTS else ""
    if word:
        parser.advance()
    expression = None
    if word in ("", "if", "elseif", "each"):
        expression = parser.output() if not word else parser.expression()
    if word in ("if", "elseif") and parser.token.text == "then" and parser.token.kind == "word":
        parser.advance()
    if parser.token.kind != "end":
        raise parser.unexpected()
    return Statement(word, expression, parser.cost)


class _Parser:
    def __init__(self, source: str, start: int, end: int) -> None:
        self._source = source
        self._end = end
        self._at = start
        self._open = 0
        self.cost = 0
        self.token = self._next()

    def _next(self) -> _Token:
        while self._at < self._end:
            found = _TOKEN.match(self._source, self._at, self._end)
            if found is None:
                character = self._source[self._at]
                raise near(character, self._at, "unfinished string" if character in "'\"" else "")
            at, self._at = self._at, found.end()
            kind = found.lastgroup or ""
            if kind != "space":
                text = found[0]
                return _Token("word" if kind == "name" and text in KEYWORDS else kind, text, at)
        return _Token("end", "}}", self._end)

    def advance(self) -> _Token:
        token, self.token = self.token, self._next()
        return token

    def unexpected(self) -> Fault:
        return near(self.token.text, self.token.at)

    def _is(self, *texts: str) -> bool:
        return self.token.text in texts and self.token.kind in ("operator", "word")

    def _expect(self, text: str) -> None:
        if not self._is(text):
            raise self.unexpected()
        self.advance()

    def _deep(self, *children: Expression) -> int:
        depth = 1 + max((child.depth for child in children), default=0)
        if depth > MAX_DEPTH:
            raise Fault(f"expression has more than {MAX_DEPTH} levels", self.token.at)
        return depth

    def output(self) -> Expression:
        """The whole of a tag that writes: the only place of the macros that write by themselves."""
        if self.token.kind == "name":
            keep = (self._at, self.token, self.cost)
            name = self.advance()
            writes = name.text in CURLIES or name.text in ("render_snippet", "render_dynamic_content")
            if writes and self._is("("):
                return self._call(name)
            self._at, self.token, self.cost = keep
        return self.expression()

    def expression(self, level: int = 1) -> Expression:
        self._open += 1
        if self._open > MAX_DEPTH:
            raise Fault(f"expression has more than {MAX_DEPTH} levels", self.token.at)
        left = self._unary()
        while self.token.kind in ("operator", "word") and _LEVELS.get(self.token.text, 0) >= level:
            operator = self.advance()
            right = self.expression(_LEVELS[operator.text] + 1)
            self.cost += 1
            left = Binary(operator.text, left, right, operator.at, self._deep(left, right))
        self._open -= 1
        return left

    def _unary(self) -> Expression:
        signs = []
        while self._is("not", "#", "-"):
            signs.append(self.advance())
        found = self._postfix()
        for sign in reversed(signs):
            self.cost += 1
            found = Unary(sign.text, found, sign.at, self._deep(found))
        return found

    def _postfix(self) -> Expression:
        found = self._primary()
        while self._is(".", "["):
            opening = self.advance()
            key: Expression
            if opening.text == "[":
                key = self.expression()
                self._expect("]")
            elif self.token.kind == "name":
                name = self.advance()
                key = Literal(name.text, name.at)
            else:
                raise self.unexpected()
            self.cost += 1
            found = Index(found, key, opening.at, self._deep(found, key))
        return found

    def _primary(self) -> Expression:
        token = self.token
        self.cost += 1
        if token.kind == "number":
            self.advance()
            whole = token.text.isdigit() and len(token.text) <= 300
            return Literal(int(token.text) if whole else float(token.text), token.at)
        if token.kind == "string":
            self.advance()
            return Literal(_unquote(token), token.at)
        if self._is("true", "false", "nil"):
            self.advance()
            return Literal({"true": True, "false": False, "nil": None}[token.text], token.at)
        if self._is("("):
            self.advance()
            inside = self.expression()
            self._expect(")")
            return inside
        if token.kind != "name":
            raise self.unexpected()
        self.advance()
        if not self._is("("):
            return Name(token.text, token.at)
        if token.text != "empty":
            known = token.text in CURLIES or token.text in ("render_snippet", "render_dynamic_content")
            raise near(token.text, token.at, "must be the whole of its braces" if known else "no such function")
        return self._call(token)

    def _call(self, name: _Token) -> Call:
        self._expect("(")
        arguments: tuple[Expression, ...] = ()
        if name.text not in CURLIES:
            arguments = (self.expression(),)
        self._expect(")")
        if name.text == "render_dynamic_content":
            root = arguments[0]
            while isinstance(root, Index):
                root = root.base
            if not (isinstance(root, Name) and root.name in DYNAMIC and isinstance(arguments[0], Index)):
                raise near(name.text, name.at, "takes a path into dynamic_html, dynamic_plain or dynamic_amp_html")
        return Call(name.text, arguments, name.at, self._deep(*arguments))


def _unquote(token: _Token) -> str:
    inside = token.text[1:-1]
    if "\\" not in inside:
        return inside

    def escape(found: re.Match[bytes]) -> bytes:
        if found[1] is not None:
            if int(found[1]) > 255:
                raise near(found[0].decode(), token.at, "no such octet")
            return bytes([int(found[1])])
        return _ESCAPES.get(found[2], found[2])

    try:
        return _ESCAPE.sub(escape, inside.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise near(token.text, token.at, "not UTF-8") from None
