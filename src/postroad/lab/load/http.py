"""One HTTP keep-alive connection of the load generator: transmissions of one recipient each (api.md section 2)."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import cast

import httptools
import msgspec

from postroad.lab.load.plan import Item, LoadPlan, body
from postroad.lab.load.tally import Tally

_MAX_REPLY = 1 << 20


class _Results(msgspec.Struct):
    total_accepted_recipients: int = 0


class _Reply(msgspec.Struct):
    results: _Results | None = None


class HttpLoader(asyncio.Protocol):
    """Posts items of the tally one after another until none is left or the server hangs up.

    `closed` is done when the connection is over; `settled` then says how many items it brought to a reply.
    """

    def __init__(self, plan: LoadPlan, tally: Tally, texts: dict[int, str]) -> None:
        """texts: message texts by size, shared by the connections of a run."""
        assert plan.http is not None
        self._loop = asyncio.get_running_loop()
        self._tally = tally
        self._texts = texts
        host, port = plan.http
        self._head = (
            f"POST /api/v1/transmissions HTTP/1.1\r\nHost: {f'[{host}]' if ':' in host else host}:{port}\r\n"
            f"Authorization: {plan.api_key}\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.settled = 0
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._item: Item | None = None
        # Not the loop's time: that of uvloop has whole milliseconds.
        self._began = 0.0
        self._reply: list[bytes] = []
        self._reply_size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by class.
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._item:
            self._tally.failed(f"connection lost ({exc})" if exc else "connection closed by the server")
            self._item = None
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._item:
                self._tally.failed(f"not an HTTP reply ({error})")
                self._item = None
            self.hang_up()

    def hang_up(self) -> None:
        if self._transport:
            self._transport.abort()

    # Called by the parser

    def on_body(self, octets: bytes) -> None:
        self._reply_size += len(octets)
        if self._reply_size <= _MAX_REPLY:
            self._reply.append(octets)

    def on_message_complete(self) -> None:
        item, reply = self._item, b"".join(self._reply)
        self._item = None
        if item is None:
            self.hang_up()
            return
        self.settled += 1
        status = self._parser.get_status_code()
        if status == 200 and _accepted(reply):
            self._tally.accepted(item, perf_counter() - self._began)
        else:
            self._tally.refused(f"HTTP {status} {reply.decode('utf-8', 'replace')}")
        if not self._parser.should_keep_alive():
            self._finish()
        else:
            # Not from within the parser: its state for the next reply is made when this call returns.
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        item = self._item = self._tally.take()
        if item is None:
            self._finish()
            return
        self._reply.clear()
        self._reply_size = 0
        self._began = perf_counter()
        request = msgspec.json.encode(
            {
                "recipients": [{"address": {"email": item.recipient}}],
                "content": {
                    "from": item.sender,
                    "subject": f"Letter {item.number}",
                    "text": self._texts[item.size],
                    "headers": {"X-Lab-Id": item.key},
                },
            }
        )
        self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(request), request))

    def _finish(self) -> None:
        if self._transport:
            self._transport.close()


def texts(plan: LoadPlan) -> dict[int, str]:
    """The text for each size of the plan."""
    return {size: body(size).decode() for size in plan.sizes}


def _accepted(reply: bytes) -> bool:
    """Does the reply say that our one recipient was accepted?"""
    try:
        results = msgspec.json.decode(reply, type=_Reply).results
    except msgspec.DecodeError:
        return False
    return results is not None and results.total_accepted_recipients == 1
