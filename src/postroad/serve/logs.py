"""What all processes of a server write to stderr: one line an event, for people at a terminal, JSON elsewhere."""

from __future__ import annotations

import contextlib
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


class Stderr:
    """Writes lines to what is sys.stderr at that moment. A log that can't be written (its reader has gone, the disk is
    full, it is closed) must not stop the mail: the line is lost, and nothing else."""

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    log = debug = info = warning = warn = error = critical = exception = fatal = failure = err = msg


def _tame(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """What strangers wrote must not command the terminal. JSON escapes it anyway, and so does the repr of what is no
    plain text. A traceback keeps its lines."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            kept = "\n" if name == "exception" else ""
            event[name] = "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in value)
    return event


def _for_people() -> list[Processor]:
    # Tracebacks are text before the console sees them: those that it makes show the values of variables, secrets too.
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    return [structlog.processors.format_exc_info, _tame, console]


_FOR_PROGRAMS: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def configure_log(process: str = "") -> None:
    """process: the name that stands in each line; "": the supervisor, whose lines speak for the whole server."""

    def name(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if process:
            event["process"] = process
        return event

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_for_people() if sys.stderr.isatty() else _FOR_PROGRAMS),
        ],
        logger_factory=lambda *args: Stderr(),
    )


def for_commands() -> None:
    """For commands: what is logged must not get between the lines of an answer."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, *_for_people()], logger_factory=lambda *args: Stderr()
    )
