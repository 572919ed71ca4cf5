"""A log that can't be written stops nothing."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator

import pytest
import structlog

from postroad.serve.logs import configure_log


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
