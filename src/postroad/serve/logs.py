"""What all processes of a server write to stderr: one line an event, for people at a terminal, JSON elsewhere."""

from __future__ import annotations

import contextlib
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger


class Stderr:
    """Writes lines to what is sys.stderr at that moment. A log that can't be written (its reader has gone, the disk is
    full, it is closed) must not stop the mail: the line is lost, and nothing else."""

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    log = debug = info = warning = warn = error = critical = exception = fatal = failure = err = msg


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
            structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *args: Stderr(),
    )


def for_commands() -> None:
    """For commands: what is logged must not get between the lines of an answer."""
    structlog.configure(logger_factory=lambda *args: Stderr())
