"""The reference pages, drawn from what the code declares, so that they can't be wrong about it.

`python -m postroad.cli.reference --write docs/reference` writes them, `--check` ends with 1 when one is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

NOTE = "<!-- Drawn from {source} by `make docs`. Change it there. -->\n"


def configuration() -> str:
    """Every option, a table a section."""
    from postroad.config.options import Form, description, options, scoped
    from postroad.config.schema import Config, ScopeOptions, Section

    def section(cls: type[Section], header: str, many: bool) -> Iterator[str]:
        yield f"\n## {f'[[{header}]]' if many else f'[{header}]'}\n\n{description(cls)}\n"
        plain = [o for o in options(cls).values() if o.section is None and o.name not in scoped(cls)]
        rows = ((f"`{o.name}`", _type_of(o), _default_of(o), o.description) for o in plain)
        yield _table(("option", "type", "default", "meaning"), rows)
        if scoped(cls):
            yield "\nAnd any option of all [scopes](#scopes).\n"
        for option in options(cls).values():
            if option.section is not None:
                yield from section(option.section, f"{header}.{option.name}", option.form is Form.TABLES)

    text = [NOTE.format(source="src/postroad/config/schema.py"), _CONFIGURATION_HEAD]
    top = options(Config).values()
    rows = ((f"`{o.name}`", _type_of(o), _default_of(o), o.description) for o in top if o.section is None)
    text += ["\n## Before the first section\n", _table(("option", "type", "default", "meaning"), rows)]
    for option in top:
        if option.section is not None:
            text += section(option.section, option.name, option.form is Form.TABLES)
    text += [_SCOPES_HEAD, ", ".join(f"`{name}`" for name in options(ScopeOptions)), ".\n"]
    return "".join(text)


_SCOPES_HEAD = """
## Scopes

Bindings, groups, domains and providers may set the options listed below in their own way. The most specific one that
sets an option counts: group, binding and domain (`[[group.members.domain]]`); binding and domain
(`[[binding.domain]]`); group and domain (`[[group.domain]]`); `[[binding]]`; `[[group]]`; `[[domain]]`, by name
before by pattern; `[[provider]]`; `[delivery]` and `[queue]`, where their meanings and defaults stand. A plain option
is a value for each path; a rate is one bucket, shared by all mail for which no narrower scope sets one.

"""


_CONFIGURATION_HEAD = """\
# Configuration

One TOML file; `postroad init` writes one with every option as a comment, `postroad config check` finds mistakes in it,
and `postroad config explain NAME` tells the value that counts and the line it comes from. Unknown names are errors.

A time is a number of seconds or text such as "500ms", "30s", "20m", "12h", "5d". A size is a number of bytes or text
such as "64KB", "20MB", "2GB" (powers of 1024). A section in [[double brackets]] is a list: write it once an entry.
"""


def _type_of(option: Any) -> str:
    from postroad.config.options import toml_text, value_text

    if option.choices:
        return " or ".join(f"`{toml_text(choice)}`" for choice in option.choices)
    text = str(option.form.value).removeprefix("a ")
    if option.least not in (None, 0) and option.most is not None:
        limits = f", {value_text(option, option.least)} to {value_text(option, option.most)}"
        return text + (limits if not option.unit else f", {value_text(option, option.least)} or more")
    if option.least not in (None, 0):
        return f"{text}, {value_text(option, option.least)} or more"
    return text


def _default_of(option: Any) -> str:
    from postroad.config.options import REQUIRED, value_text

    if option.default is REQUIRED:
        return "must be set"
    if option.default is None:
        return str(option.elsewhere)
    return f"`{value_text(option, option.default)}`"


def events() -> str:
    """Every event type and member."""
    from postroad.events import EVENTS, FIELDS, BounceClass
    from postroad.message import Stage

    text = [NOTE.format(source="src/postroad/events/schema.py"), _EVENTS_HEAD, "\n## Types\n"]
    text.append(
        _table(
            ("type", "group", "number", "meaning"),
            (
                (f"[`{e.name}`](#{e.name})", f"`{e.group.key}`", str(int(e.kind)), e.description)
                for e in EVENTS.values()
            ),
        )
    )
    text.append("\n## Members\n\nA `+` marks members beyond the published SparkPost events.\n")
    rows = (
        (f"`{f.name}`{' +' if f.extra else ''}", f.wire.value, f.description, _code(f.sample)) for f in FIELDS.values()
    )
    text.append(_table(("member", "JSON type", "meaning", "sample"), rows))
    for event in EVENTS.values():
        optional = [name for name in event.fields if name not in event.required]
        sample = {name: FIELDS[name].sample for name in event.fields if name not in ("rcpt_type",)} | {
            "type": event.name
        }
        text.append(f"\n## {event.name}\n\n{event.description}\n\n")
        text.append(f"Always: {', '.join(f'`{name}`' for name in event.required)}.\n\n")
        text.append(f"With a value: {', '.join(f'`{name}`' for name in optional)}.\n\n")
        text.append(f"```json\n{json.dumps(sample, ensure_ascii=False)}\n```\n")
    text.append("\n## Bounce classes\n\nThe values of `bounce_class`.\n")
    text.append(_table(("class", "name", "category"), ((str(int(c)), c.label, c.category) for c in BounceClass)))
    text.append("\n## Stages\n\nThe values of `conn_stage`.\n")
    text.append(_table(("stage", "the attempt ended"), ((str(int(s)), _words(s)) for s in Stage)))
    return "".join(text)


_EVENTS_HEAD = """\
# Events

Everything that happens to a message is an event: a JSON object, kept in the journal in the order it happened.
`postroad events tail` prints them. A consumer gets every event at least once, and may get one again after a crash, with
the same `event_id`: drop repeats by it. Members without a value are left out. Numbers are strings of digits.
"""


def smtp_states() -> str:
    """The state tables of the SMTP server and client."""
    from postroad.deliver import TABLE, Step
    from postroad.inject.tables import draw

    rows = []
    handlers: dict[str, str] = {}
    for step in Step:
        cells = []
        for handler in TABLE[step]:
            name = handler.__name__.lstrip("_")
            handlers[name] = (handler.__doc__ or "").strip().split("\n\n")[0]
            cells.append(f"`{name}`")
        rows.append((step.name, *cells))
    meanings = ((f"`{name}`", " ".join(meaning.split())) for name, meaning in sorted(handlers.items()) if meaning)
    return "".join(
        (
            NOTE.format(source="src/postroad/inject/tables.py and src/postroad/deliver/machine.py"),
            "# SMTP states\n\n## Server\n\nWhat a session may do in each state. ",
            "Anything else gets 503 and changes nothing.\n\n",
            draw(),
            "\n## Client\n\nThe step is what the next reply answers; a cell is what the reply leads to.\n",
            _table(("step", "2xx", "3xx", "4xx", "5xx", "421"), rows),
            _table(("leads to", "meaning"), meanings),
        )
    )


def commands() -> str:
    """Every command with its arguments and options."""
    import typer

    from postroad.cli.app import app

    text = [NOTE.format(source="src/postroad/cli/"), "# Commands\n"]
    # The classes of typer's commands are not public in every version; what is read here is what `--help` shows.
    root: Any = typer.main.get_command(app)
    for path, command in _leaves(root, "postroad"):
        parameters = [p for p in command.params if not getattr(p, "hidden", False)]
        arguments = [p for p in parameters if not p.opts[0].startswith("-")]
        options = [p for p in parameters if p.opts[0].startswith("-")]
        usage = " ".join([path, *(_argument(p) for p in arguments), *(["[OPTIONS]"] if options else [])])
        text.append(f"\n## {path}\n\n{command.help or ''}\n\n```\n{usage}\n```\n")
        rows = [(f"`{_argument(p).strip('[]')}`", _help(p), _shown_default(p)) for p in arguments]
        rows += [
            (", ".join(f"`{o}`" for o in (*p.opts, *p.secondary_opts)), _help(p), _shown_default(p)) for p in options
        ]
        if rows:
            text.append(_table(("", "meaning", "default"), rows))
    return "".join(text)


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if not children or getattr(command, "invoke_without_command", False):
        yield path, command
    if not children:
        return
    for name, child in children.items():
        yield from _leaves(child, f"{path} {name}")


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).strip("[]").upper()
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _help(parameter: Any) -> str:
    text = parameter.help or ""
    if parameter.envvar:
        text += f" Environment: {parameter.envvar}."
    return text


def _shown_default(parameter: Any) -> str:
    if parameter.required:
        return "must be given"
    default = parameter.default
    if default in (None, "", False, ()) or getattr(parameter, "is_flag", False):
        return ""
    return f"`{default}`".replace("\n", "\\n")


def _words(member: Enum) -> str:
    return member.name.lower().replace("_", " ")


def _code(sample: object) -> str:
    return f"`{json.dumps(sample, ensure_ascii=False)}`"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in lines)


def _cell(text: str) -> str:
    """Escaped for Markdown; what begins with a back quote is code, where "<" stands for itself."""
    text = text.replace("|", "\\|")
    return text if text.startswith("`") else text.replace("<", "&lt;")


def admin_api() -> str:
    """The verbs of the console."""
    from msgspec.inspect import StructType, type_info

    from postroad.console import VERBS

    text = [NOTE.format(source="src/postroad/console/"), _ADMIN_HEAD]
    rows = (
        (
            f"[`{verb.name}`](#{verb.name})",
            "POST" if verb.changes else "GET",
            "yes" if verb.confirmed else "",
            verb.doc,
        )
        for verb in VERBS.values()
    )
    text.append(_table(("verb", "method", "two steps", "meaning"), rows))
    for verb in VERBS.values():
        text.append(f"\n## {verb.name}\n\n{verb.doc}\n")
        shape = type_info(verb.arguments)
        assert isinstance(shape, StructType)
        if shape.fields:
            arguments = (
                (f"`{field.name}`", "must be given" if field.required else "", _meaning(verb.arguments, field.name))
                for field in shape.fields
            )
            text.append(_table(("argument", "", "meaning"), arguments))
    return "".join(text)


def _meaning(cls: Any, name: str) -> str:
    """The description of a field that `Annotated[..., Meta(description=...)]` declares."""
    from typing import get_type_hints

    from msgspec import Meta

    notes = getattr(get_type_hints(cls, include_extras=True)[name], "__metadata__", ())
    return next((note.description for note in notes if isinstance(note, Meta) and note.description), "")


_ADMIN_HEAD = """\
# Admin API and console

The same verbs, arguments and answers everywhere: over HTTP at `/api/admin/v1/VERB` with an API key that has the grant
`admin` (arguments of a GET in the query, of a POST as a JSON object; the answer is the member `results`; shapes in
`/api/v1/openapi.json`), and over the
control socket in the data folder as one JSON line `{"verb": VERB, ARGUMENTS}` (the answer is the member `result`). The
`postroad queue`, `message`, `path` and `console` commands ask over the socket.

Verbs in two steps show first what is meant: how many messages, how many of them in flight, ten of them, and a `token`.
The same verb with nothing but that token, by the same operator and within five minutes, does it, to exactly the
messages that were counted and are still queued. `dry_run` shows without a token. Acts are told in `console.log` in the
data folder before they begin and after they end.

The answers are those of all engines as one. Engines that do not answer are named in `missing`: what they have is not in
the answer. Where the control process itself is away, HTTP answers 503, and commands say so; mail goes on.

`trace` answers with a JSON line for each line of the dialogues (over HTTP as `application/x-ndjson`), for at most an
hour; it ends when the client goes. Passwords are masked, of content only the first line and the size are shown. A
reader that is too slow loses lines, and is told how many.

What is in flight is on a connection: `fail` and `delay` then take hold when it comes back undelivered (they count as
`when_it_comes_back`; that order is lost if the process ends before, the message is not), other acts leave it alone.
"""


def metrics() -> str:
    """Every metric, and the alarms."""
    from postroad.console import ALARMS, METRICS, labelled

    text = [NOTE.format(source="src/postroad/console/metrics.py and watch.py"), _METRICS_HEAD]
    rows = (
        (f"`{m.name}`", m.kind, ", ".join(f"`{name}`" for name in m.labels), m.help) for m in map(labelled, METRICS)
    )
    text.append(_table(("metric", "type", "labels", "meaning"), rows))
    text.append("\n## Alarms\n\nThe values of the label `name`; `postroad console status` tells each in words.\n")
    text.append(_table(("alarm", "meaning"), ((f"`{name}`", meaning) for name, meaning in ALARMS.items())))
    return "".join(text)


_METRICS_HEAD = """\
# Metrics

`GET /metrics` in the text format of Prometheus; from other machines with an API key that has the grant `metrics` or
`admin`. examples/grafana/postroad.json is a dashboard of them. Whichever engine is asked, the figures are those of the
whole server: of gauges the sum, where one makes sense; counters are told for each engine.
"""


def hooks() -> str:
    """Phases of policy, and what hooks and rules may do in each."""
    from postroad.cli.hookspage import hooks_page

    return NOTE.format(source="src/postroad/policy/") + hooks_page(_table)


def http_api() -> str:
    """Every route of the HTTP API."""
    from postroad.cli.apipage import api_page

    return NOTE.format(source="src/postroad/api/resources/") + api_page(_table)


PAGES: dict[str, Callable[[], str]] = {
    "http-api.md": http_api,
    "hooks.md": hooks,
    "admin-api.md": admin_api,
    "metrics.md": metrics,
    "configuration.md": configuration,
    "events.md": events,
    "smtp-states.md": smtp_states,
    "commands.md": commands,
}


def stale(directory: Path) -> list[Path]:
    """The pages that are missing or differ from what the code says."""
    found = []
    for name, draw in PAGES.items():
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != draw():
            found.append(path)
    return found


def write(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, draw in PAGES.items():
        (directory / name).write_text(draw(), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m postroad.cli.reference", description="Draw the reference pages.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", type=Path, metavar="DIR", help="write the pages")
    what.add_argument("--check", type=Path, metavar="DIR", help="end with 1 when a page is stale")
    chosen = parser.parse_args(arguments)
    if chosen.write:
        write(chosen.write)
        return 0
    pages = stale(chosen.check)
    for page in pages:
        print(f"{page} is stale; run: make docs", file=sys.stderr)
    return 1 if pages else 0


if __name__ == "__main__":
    sys.exit(main())
