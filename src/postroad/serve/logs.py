"""What all processes of a server write to stderr: one line an event, for people at a terminal, JSON elsewhere."""

from __future__ import annotations

import sys

import structlog
from structlog.typing import EventDict, WrappedLogger


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
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
