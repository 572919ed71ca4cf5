"""The live view of `postroad queue top`."""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

from postroad.cli.asking import until


def watch(frame: Callable[[], Any], interval: float) -> None:
    """frame(): (queue-summary, overview, time of day)."""
    from rich.console import Console
    from rich.live import Live

    console = Console(markup=False, highlight=False)
    if not (sys.stdin.isatty() and console.is_terminal):
        console.print(_drawn(frame()))
        return
    with (
        contextlib.suppress(KeyboardInterrupt),
        _keys(),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            live.update(_drawn(frame()), refresh=True)
            if _pressed(interval):
                return


def _drawn(seen: Any) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    summary, overview, clock = seen
    delivery, journal = overview["delivery"], overview["journal"]
    made = Table(
        *("binding", "domain", "active", "delayed", "in flight", "attempts/s", "next due", ""), box=None, pad_edge=False
    )
    for path in summary["paths"]:
        made.add_row(
            path["binding"],
            path["domain"],
            *(str(path[name]) for name in ("active", "delayed", "in_flight")),
            "-" if path["rate"] is None else f"{path['rate']:.1f}",
            until(path["next_due"]),
            "suspended" if path["suspended"] else "",
        )
    head = (
        f"{clock}  {overview['messages']:,} messages on {summary['total']:,} paths, {overview['in_flight']:,} in flight"
        f"; {delivery['connections']:,} connections out, {overview['sessions']:,} sessions in"
    )
    tail = (
        f"since the start: {delivery['delivered']:,} delivered, {delivery['deferred']:,} deferred, "
        f"{delivery['failed']:,} failed; journal: {journal['mail_segments']} mail segments"
    )
    lines = [Text(head), Text(tail)]
    if overview["refusal"]:
        lines.append(Text(f"New mail is refused: {overview['refusal']}"))
    lines += [Text(f"ALARM {alarm['name']}: {alarm['text']}") for alarm in overview["alarms"]]
    return Group(*lines, Text(""), made)


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Single keys, without Enter."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _pressed(seconds: float) -> bool:
    """Was q pressed within this time?"""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([sys.stdin], [], [], left)
        if ready and sys.stdin.read(1).lower() == "q":
            return True
    return False
