"""Positions agree with what tomllib reads, in every way a TOML file can be written."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postroad.config.locate import Path, Position, locate

EVERY_WAY = """\
title = "x = [y] # z"
dotted . "quo.ted" = 'its'
[server]   # a [header]
hostname = "mx.\\"a"
  list = [ 1, "]", [2, {deep = "}"}], # in the list
     '''multi
line = ]''',
  ]
inline = { a = 1, b.c = [ { d = 2 } ], "e" = "}" }
text = \"\"\"
[not.a.header]
key = 'no' \\\"\"\" \"\"\"
when = 1979-05-27 07:32:00
[[listener]]
address = "x"
[[listener.peers]]
network = "a"
[[listener.peers]]
network = "b"
[listener.more]
x = 1
[[listener]]
[[listener.peers]]
network = "c"
"""


def test_every_way_to_write_a_name() -> None:
    found = locate(EVERY_WAY)
    assert set(found) == set(paths(tomllib.loads(EVERY_WAY)))
    assert found["title",] == (1, 1)
    assert found["dotted", "quo.ted"] == (2, 1)
    assert found["server", "hostname"] == (4, 1)
    assert found["server", "list", 2, 1, "deep"] == Position(5, 25)
    assert found["server", "list", 3] == Position(6, 6)
    assert found["server", "inline", "b", "c", 0, "d"] == Position(9, 29)
    assert found["server", "text"] == Position(10, 1)
    assert found["server", "when"] == Position(13, 1)
    assert found["listener", 0, "peers", 1] == Position(18, 1)
    assert found["listener", 0, "peers", 1, "network"] == Position(19, 1)
    assert found["listener", 0, "more", "x"] == Position(21, 1)
    assert found["listener", 1, "peers", 0, "network"] == Position(24, 1)


def test_windows_line_ends() -> None:
    assert locate("a = 1\r\n\r\n[b]\r\nc = 2\r\n")["b", "c"] == (4, 1)


def paths(data: object, prefix: Path = ()) -> list[Path]:
    """The paths of all keys and list items of decoded TOML."""
    items: list[tuple[Any, object]] = []
    if isinstance(data, dict):
        items = list(data.items())
    elif isinstance(data, list):
        items = list(enumerate(data))
    found: list[Path] = []
    for name, value in items:
        found.append((*prefix, name))
        found += paths(value, (*prefix, name))
    return found


# Names and texts full of the characters that mean something to TOML.
NAMES = st.text("ab-_", min_size=1, max_size=3) | st.text("a.#[]{}= '\\", max_size=4)
TEXTS = st.text("ab.,#[]{}=' \"\\\n\té😀", max_size=12)
LEAVES = TEXTS | st.integers(-99, 99) | st.booleans() | st.floats(-9, 9)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
TABLES = st.dictionaries(
    NAMES,
    VALUES
    | st.dictionaries(NAMES, VALUES, max_size=3)
    | st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=3),
    max_size=4,
)


@given(TABLES, st.randoms(use_true_random=False))
def test_positions_agree_with_tomllib(data: dict[str, object], rng: Any) -> None:
    text = Writer(rng).document(data)
    assert tomllib.loads(text) == data
    found = locate(text)
    assert set(found) == set(paths(data))
    lines = text.split("\n")
    for line, column in found.values():
        begin = lines[line - 1][column - 1 :]
        assert begin and begin[0] not in " \t#,.]}="


class Writer:
    """Writes TOML with the choices that the format leaves open taken at random."""

    def __init__(self, rng: Any) -> None:
        self._rng = rng

    def document(self, data: dict[str, object]) -> str:
        head, tail = [], []
        for name, value in data.items():
            if isinstance(value, dict) and self._rng.random() < 0.7:
                tail.append(f"[{self._gap()}{self._key(name)}{self._gap()}]{self._end()}" + self._pairs(value))
            elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
                tail += [f"[[{self._key(name)}]]{self._end()}" + self._pairs(item) for item in value]
            else:
                head.append(self._pair(name, value) + self._end())
        return "".join(head + tail)

    def _pairs(self, table: dict[str, object]) -> str:
        return "".join(self._pair(name, value) + self._end() for name, value in table.items())

    def _pair(self, name: str, value: object) -> str:
        if isinstance(value, dict) and len(value) == 1 and self._rng.random() < 0.5:
            ((inner, rest),) = value.items()
            return f"{self._key(name)}{self._gap()}.{self._gap()}{self._pair(inner, rest)}"
        return f"{self._key(name)}{self._gap()}={self._gap()}{self._value(value)}"

    def _key(self, name: str) -> str:
        if name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name) and self._rng.random() < 0.7:
            return name
        return self._text(name, multi_line=False)

    def _value(self, value: object) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return self._text(value, multi_line=True)
        if isinstance(value, list):
            items = [self._space() + self._value(item) + self._space() for item in value]
            return "[" + ",".join(items) + (", ]" if items and self._rng.random() < 0.3 else self._space() + "]")
        if isinstance(value, dict):
            return "{" + ", ".join(self._pair(name, inner) for name, inner in value.items()) + " }"
        return repr(value)

    def _text(self, text: str, *, multi_line: bool) -> str:
        ways = ["basic"]
        if "'" not in text and "\n" not in text:
            ways.append("literal")
        if multi_line:
            ways.append("long basic")
            if "''" not in text and not text.endswith("'") and not text.startswith("\n"):
                ways.append("long literal")
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
        match self._rng.choice(ways):
            case "basic":
                return '"' + escaped.replace("\n", "\\n") + '"'
            case "literal":
                return f"'{text}'"
            case "long basic":
                # The line feed behind the opening quotes does not count.
                return '"""\n' + escaped + '"""'
            case _:
                return f"'''\n{text}'''"

    def _gap(self) -> str:
        return str(self._rng.choice(["", " ", "\t "]))

    def _space(self) -> str:
        return str(self._rng.choice(["", " ", "\n  ", " # a ] comment\n"]))

    def _end(self) -> str:
        return str(self._rng.choice(["\n", " # = [x]\n", "\n\n  "]))
