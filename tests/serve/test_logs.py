"""A log that can't be written stops nothing."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator

import pytest
import structlog

from postroad.serve.logs import configure_log, for_commands


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    configure_log("engine-1")
    yield
    structlog.reset_defaults()


def test_a_line_goes_to_what_is_stderr_now(monkeypatch: pytest.MonkeyPatch) -> None:
    log = structlog.get_logger().bind()
    log.info("before")
    now = io.StringIO()
    monkeypatch.setattr(sys, "stderr", now)
    log.warning("hello", to="all")
    (line,) = now.getvalue().splitlines()
    assert '"event": "hello"' in line and '"process": "engine-1"' in line


@pytest.mark.parametrize("method", ["debug", "info", "warning", "error", "critical", "exception"])
def test_a_closed_log_is_no_error(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    getattr(structlog.get_logger(), method)("nobody reads this")


def test_a_reader_that_has_gone_and_a_full_disk_are_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", buffering=1, closefd=True) as gone, open("/dev/full", "w") as full:
        for where in (gone, full):
            monkeypatch.setattr(sys, "stderr", where)
            structlog.get_logger().error("nobody reads this")
            # What stands in the file's own buffer would be written when it is closed, and fail there.
            monkeypatch.undo()
            os.dup2(os.open(os.devnull, os.O_WRONLY), where.fileno())


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


HOSTILE = ["\x1b[2J", "a\x1b]0;title\x07b", "\x9b2J", "turned \u202e round", "two\nlines", "over\rwritten"]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("text", HOSTILE)
def test_what_strangers_wrote_does_not_command_the_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, text: str
) -> None:
    out = _Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    configure_log("engine-1")
    structlog.get_logger().warning(
        "policy_failed", problem=text, reasons=[text], found={"of": text}, error=ValueError(text)
    )
    for_commands()
    structlog.get_logger().warning("policy_failed", problem=text, error=ValueError(text))
    written = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())  # colours are ours
    assert len(written.split("\n")) == 3 and written.count("policy_failed") == 2
    assert [c for c in written if not c.isprintable() and c != "\n"] == []


@pytest.mark.parametrize("terminal", [True, False])
def test_a_traceback_tells_the_place_and_no_values(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    def broken(secret: str) -> None:
        raise ValueError("broken \x1b[2J here")

    out = _Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    configure_log("engine-1")
    try:
        broken("correct" + " horse")
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
    written = out.getvalue()
    assert "in broken" in written and "correct horse" not in written and "\x1b[2J" not in written
