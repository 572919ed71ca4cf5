"""Authentication-Results (RFC 8601): written, read strictly, and taken away where others wrote it in our name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from postroad.auth.fields import Field, split_fields

_MAX_LENGTH = 65536
_TOKEN = re.compile(r"[^\x00-\x20()<>@,;:\\\"/\[\]?=\x7f]+")
_KEYWORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?")
# What may stand bare as a value: a token, or an address without quoting, or a domain (RFC 8601 2.2 pvalue).
_PVALUE = re.compile(r"[^\x00-\x20()<>,;:\\\"\[\]=\x7f]+")
_QUOTED = re.compile(r'"((?:[^"\\\r\n\x00]|\\[^\r\n\x00])*)"')
_MENTIONED = re.compile(rb"^authentication-results[ \t]*:", re.IGNORECASE | re.MULTILINE)


class ResultsError(ValueError):
    """No Authentication-Results value. The message says where."""


class MethodResult(NamedTuple):
    """One resinfo. properties: (ptype, property, value), such as ("header", "d", "example.com")."""

    method: str
    result: str
    properties: tuple[tuple[str, str, str], ...] = ()
    reason: str = ""
    version: int = 1


class Results(NamedTuple):
    authserv_id: str
    methods: tuple[MethodResult, ...] = ()
    version: int = 1


def write_results(authserv_id: str, methods: Sequence[MethodResult]) -> bytes:
    """The whole field with its CRLF. What strangers said (reasons, values) can't break out of it: control characters
    become "?", the rest is quoted where it must be."""
    return b"Authentication-Results: " + results_value(authserv_id, methods) + b"\r\n"


def results_value(authserv_id: str, methods: Sequence[MethodResult]) -> bytes:
    """What stands behind the colon, a method a line: also of ARC-Authentication-Results."""
    lines = [_quoted(authserv_id, _TOKEN)]
    for each in methods:
        words = [f"{each.method}={each.result}"]
        if each.reason:
            words.append(f"reason={_quoted(each.reason, _TOKEN)}")
        words += [f"{ptype}.{name}={_quoted(value, _PVALUE)}" for ptype, name, value in each.properties]
        lines.append(_filled(words))
    if not methods:
        lines.append("none")
    return ";\r\n ".join(lines).encode()


def _filled(words: list[str], width: int = 76) -> str:
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] += " " + word
    return "\r\n  ".join(lines)


def _quoted(text: str, bare: re.Pattern[str], limit: int = 320) -> str:
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "?", text)[:limit]
    text = text.encode("utf-8", "replace").decode()
    if bare.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip(self) -> None:
        """White space and comments, nested ones too, without recursion."""
        text, at, depth = self.text, self.at, 0
        while at < len(text):
            char = text[at]
            if depth and char == "\\":
                at += 1
            elif char == "(":
                depth += 1
            elif depth and char == ")":
                depth -= 1
            elif not depth and char not in " \t\r\n":
                break
            at += 1
        if depth:
            raise ResultsError("a comment does not end")
        self.at = min(at, len(text))

    def take(self, char: str) -> bool:
        self.skip()
        if self.text.startswith(char, self.at):
            self.at += 1
            return True
        return False

    def need(self, char: str) -> None:
        if not self.take(char):
            raise ResultsError(f"{char!r} is missing at {self.text[self.at : self.at + 20]!r}")

    def match(self, pattern: re.Pattern[str], what: str) -> str:
        self.skip()
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ResultsError(f"no {what} at {self.text[self.at : self.at + 20]!r}")
        self.at = found.end()
        return found[0]

    def value(self, bare: re.Pattern[str], what: str) -> str:
        self.skip()
        quoted = _QUOTED.match(self.text, self.at)
        if quoted is not None:
            self.at = quoted.end()
            rest = ""
            if bare is _PVALUE and self.text.startswith("@", self.at):
                rest = self.match(_PVALUE, what)  # "a b"@example.com
            return re.sub(r"\\(.)", r"\1", quoted[1]) + rest
        return self.match(bare, what)

    def number(self) -> int:
        return int(self.match(re.compile(r"[0-9]{1,9}"), "version"))

    def done(self) -> bool:
        self.skip()
        return self.at >= len(self.text)


def parse_results(raw: bytes) -> Results:
    """Reads a field's value, folded or not. Raises ResultsError on all that the grammar of RFC 8601 2.2 does not have,
    but for one semicolon at the end, which many write."""
    if len(raw) > _MAX_LENGTH:
        raise ResultsError(f"more than {_MAX_LENGTH} octets")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ResultsError("not UTF-8") from None
    reader = _Reader(text.replace("\r\n", ""))
    authserv_id = reader.value(_TOKEN, "authserv-id")
    version = 1
    if not reader.done() and not reader.text.startswith(";", reader.at):
        version = reader.number()
    if version != 1:
        raise ResultsError(f"version {version} is not known")
    methods: list[MethodResult] = []
    reader.need(";")
    while not reader.done():
        word = reader.match(_KEYWORD, "method")
        if word.lower() == "none" and not methods and reader.done():
            return Results(authserv_id, (), version)
        methods.append(_method(reader, word))
        if not reader.done():
            reader.need(";")
    if not methods:
        raise ResultsError("neither a result nor none")
    return Results(authserv_id, tuple(methods), version)


def _method(reader: _Reader, word: str) -> MethodResult:
    version = reader.number() if reader.take("/") else 1
    reader.need("=")
    result = reader.match(_KEYWORD, "result").lower()
    reason = ""
    properties: list[tuple[str, str, str]] = []
    while not reader.done() and not reader.text.startswith(";", reader.at):
        name = reader.match(_KEYWORD, "property")
        if name.lower() == "reason" and not properties and not reason and reader.take("="):
            reason = reader.value(_TOKEN, "reason")
            continue
        reader.need(".")
        of = reader.match(_KEYWORD, "property")
        reader.need("=")
        properties.append((name.lower(), of.lower(), reader.value(_PVALUE, "value")))
    return MethodResult(word.lower(), result, tuple(properties), reason, version)


def without_forged(header: bytes, authserv_ids: Iterable[str]) -> bytes:
    """The header section without the Authentication-Results fields that bear one of our names (RFC 8601 5). A field
    that can't be read goes too when our name stands anywhere in it: others may read it more kindly."""
    if not _MENTIONED.search(header):
        return header
    ours = {name.lower() for name in authserv_ids}
    kept = []
    for field in split_fields(header.removesuffix(b"\r\n") if header.endswith(b"\r\n\r\n") else header):
        if field.name == b"authentication-results" and _claims(field, ours):
            continue
        kept.append(field.raw)
    return b"".join(kept) + (b"\r\n" if header.endswith(b"\r\n\r\n") else b"")


def _claims(field: Field, ours: set[str]) -> bool:
    raw = field.raw.partition(b":")[2]
    try:
        return parse_results(raw).authserv_id.lower().removesuffix(".") in ours
    except ResultsError:
        text = raw.decode("latin-1").lower()
        return any(name in text for name in ours)
