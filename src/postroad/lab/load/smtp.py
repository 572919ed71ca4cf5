"""One SMTP client session of the load generator."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import cast

from postroad.lab.load.plan import Item, LoadPlan, body, head, stuffed
from postroad.lab.load.tally import Tally

_MAX_REPLY = 64_000


class SmtpLoader(asyncio.Protocol):
    """Sends items of the tally until none is left, the session's share is sent, or the server hangs up.

    `closed` is done when the connection is over; `settled` then says how many items it brought to a reply.
    """

    def __init__(self, plan: LoadPlan, tally: Tally, bodies: dict[int, bytes]) -> None:
        """bodies: dot-stuffed texts by size, shared by the sessions of a run."""
        self._plan = plan
        self._tally = tally
        self._bodies = bodies
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.settled = 0
        self._transport: asyncio.Transport | None = None
        self._input = b""
        self._pipelining = False
        # What each coming reply answers, and the commands not sent yet.
        self._awaited: deque[str] = deque(["banner"])
        self._unsent: deque[tuple[str, bytes]] = deque()
        self._item: Item | None = None
        # Not the loop's time: that of uvloop has whole milliseconds.
        self._began = 0.0
        self._sent = 0
        self._bad = ""
        self._open_transaction = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._item:
            self._tally.failed(f"connection lost ({exc})" if exc else "connection closed by the server")
            self._item = None
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        data = self._input + data if self._input else data
        while (newline := data.find(b"\n")) >= 0:
            # A reply ends with the line whose code is followed by anything but "-" (RFC 5321 4.2.1).
            start = 0
            while newline >= 0 and data[start + 3 : start + 4] == b"-":
                start = newline + 1
                newline = data.find(b"\n", start)
            if newline < 0:
                break
            reply, data = data[: newline + 1], data[newline + 1 :]
            self._replied(reply.decode("utf-8", "replace").rstrip())
            if self._transport is None or self._transport.is_closing():
                return
        self._input = data
        if len(data) > _MAX_REPLY:
            self.hang_up()

    def hang_up(self) -> None:
        if self._transport:
            self._transport.abort()

    def _replied(self, reply: str) -> None:
        if not self._awaited:
            self._leave(reply)
            return
        what = self._awaited.popleft()
        good = reply[:1] in "23"
        if reply.startswith("421"):
            self._leave(reply)
        elif what in ("banner", "EHLO"):
            if not good:
                self._leave(reply)
            elif what == "banner":
                self._send("EHLO", b"EHLO load.test\r\n")
            else:
                self._pipelining = self._plan.pipelining and "PIPELINING" in reply.upper()
                self._next()
        elif what == "QUIT":
            self._finish()
        elif what == "content":
            self._settle("" if good and not self._bad else self._bad or reply)
        elif what == "DATA":
            self._data_replied(reply, good)
        else:
            if not good:
                self._bad = self._bad or reply
            elif what == "MAIL":
                self._open_transaction = True
            self._continue()

    def _data_replied(self, reply: str, good: bool) -> None:
        if not good:
            self._settle(self._bad or reply)
            return
        assert self._item is not None
        if self._bad:
            # Content was asked for though a command failed: send none.
            content = b".\r\n"
        else:
            content = b"".join((head(self._item), self._bodies[self._item.size], b".\r\n"))
        self._send("content", content)

    def _next(self) -> None:
        """Begin the next message, or say goodbye."""
        self._item = None
        if not self._plan.per_session or self._sent < self._plan.per_session:
            self._item = self._tally.take()
        if self._item is None:
            self._send("QUIT", b"QUIT\r\n")
            return
        self._sent += 1
        self._bad = ""
        self._began = perf_counter()
        commands = [
            ("MAIL", f"MAIL FROM:<{self._item.sender}>\r\n".encode()),
            ("RCPT", f"RCPT TO:<{self._item.recipient}>\r\n".encode()),
            ("DATA", b"DATA\r\n"),
        ]
        if self._open_transaction:
            commands.insert(0, ("RSET", b"RSET\r\n"))
        self._open_transaction = False
        if self._pipelining:
            self._awaited.extend(what for what, _ in commands)
            self._write(b"".join(octets for _, octets in commands))
        else:
            self._unsent.extend(commands)
            self._continue()

    def _continue(self) -> None:
        """Without PIPELINING: the next command. A failed one takes the rest of its message with it."""
        if self._awaited:
            return
        if self._bad and self._item:
            self._unsent.clear()
            self._settle(self._bad)
        elif self._unsent:
            self._send(*self._unsent.popleft())

    def _settle(self, refusal: str) -> None:
        assert self._item is not None
        self.settled += 1
        if refusal:
            self._tally.refused(refusal)
        else:
            self._open_transaction = False
            self._tally.accepted(self._item, perf_counter() - self._began)
        self._next()

    def _leave(self, reply: str) -> None:
        """The server wants no more of this session."""
        if self._item:
            self.settled += 1
            self._tally.refused(reply)
            self._item = None
        self._finish()

    def _finish(self) -> None:
        if self._transport:
            self._transport.close()

    def _send(self, what: str, octets: bytes) -> None:
        self._awaited.append(what)
        self._write(octets)

    def _write(self, octets: bytes) -> None:
        if self._transport:
            self._transport.write(octets)


def bodies(plan: LoadPlan) -> dict[int, bytes]:
    """The dot-stuffed text for each size of the plan."""
    return {size: stuffed(body(size)) for size in plan.sizes}
