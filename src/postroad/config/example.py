"""The commented file that `postroad init` writes: every option of the schema, with its default, as a comment."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from postroad.config.options import REQUIRED, Form, Option, description, options, scoped, toml_text, value_text
from postroad.config.schema import Config, Section

_WIDTH = 100

_HEAD = """\
# Postroad configuration (TOML). Each option stands here with its default behind a "#": take that away to change it.
# Times are seconds, or "500ms", "30s", "20m", "12h", "5d"; sizes are bytes, or "64KB", "20MB", "2GB" (powers of 1024).
# `postroad config check` finds mistakes, `postroad config explain NAME` tells which value counts and why.
"""


class Start(NamedTuple):
    """What a new installation sets: its host name, one SMTP listener for programs of this machine, one API key."""

    hostname: str
    key_sha256: str


def example(start: Start | None = None) -> str:
    """The text of the file. Without `start` everything is a comment, and reading it gives the defaults exactly."""
    lines = [_HEAD]
    for option in options(Config).values():
        if option.section is None:
            lines += [*_comment(option.description), *_line(option, None), ""]
        elif option.name in _SCOPES:
            lines += _scope(option.section, f"[[{option.name}]]")
        else:
            lines += _section(option.section, option.name, option.form is Form.TABLES, start)
    return "\n".join(lines)


def _section(section: type[Section], header: str, many: bool, start: Start | None) -> Iterator[str]:
    chosen = _chosen(header, start)
    # An empty table changes nothing, but an empty list entry would be an entry: without values it is a comment.
    mark = "#" if many and chosen is None else ""
    yield from _comment(description(section))
    yield f"{mark}[[{header}]]" if many else f"[{header}]"
    inner = []
    for option in options(section).values():
        if option.section is not None:
            inner.append(option)
            continue
        yield from _comment(option.description)
        # Within an entry that is a comment as a whole they are not options of the table above it.
        for line in _line(option, (chosen or {}).get(option.name)):
            yield f"#  {line[1:]}" if mark else line
    yield ""
    for option in inner:
        assert option.section is not None
        yield from _section(option.section, f"{header}.{option.name}", option.form is Form.TABLES, start)


# Written as prose: as options with defaults these sections would be a thousand lines that few need.
_SCOPES = ("binding", "group", "domain", "provider", "reply", "policy", "rule", "dkim")


def _scope(section: type[Section], header: str) -> Iterator[str]:
    yield from _comment(f"{header} {description(section)}")
    for option in options(section).values():
        if option.section is not None:
            inner = ", ".join(name for name in options(option.section) if name not in scoped(option.section))
            yield from _comment(f"  {header[:-2]}.{option.name}]]: {option.description} ({inner} ...)")
        elif option.name not in scoped(section):
            yield from _comment(f"  {option.name}: {option.description}")
    yield ""


def _chosen(header: str, start: Start | None) -> dict[str, object] | None:
    if start is None:
        return None
    chosen: dict[str, dict[str, object]] = {
        "server": {"hostname": start.hostname},
        "listener": {},
        "listener.peers": {"network": "127.0.0.0/8", "relay": True},
        "http.keys": {"label": "first", "sha256": start.key_sha256},
    }
    return chosen.get(header)


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.split("\n"):
        yield from textwrap.wrap(paragraph, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _line(option: Option, chosen: object) -> Iterator[str]:
    if chosen is not None:
        yield f"{option.name} = {value_text(option, chosen)}"
    elif isinstance(option.default, list) and len(value_text(option, option.default)) > _WIDTH:
        yield f"#{option.name} = ["
        for item in option.default:
            yield f"#    {toml_text(item)},"
        yield "#]"
    elif option.default is REQUIRED:
        yield f"#{option.name} = (must be set)"
    elif option.default is None:
        yield f"#{option.name} = ({option.elsewhere})"
    else:
        yield f"#{option.name} = {value_text(option, option.default)}"
