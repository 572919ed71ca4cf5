"""Asking another process of this server over its local socket, from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from postroad.console import VERBS, ConsoleError, EngineAway
from postroad.serve.control import short

_MAX_ITEM = 1 << 20  # octets of one item of a stream

CONTROL_HTTP = "control-http.sock"  # in the run folder: where engines ask control for their HTTP clients
CONTROL_API = "control-api.sock"  # in the run folder: where engines pass whole HTTP requests on to control


class SocketLine:
    """Implements console.Line. A connection a question: they are rare, and each ends by itself when the other process
    does. folder: of the socket."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    async def ask(self, verb: str, arguments: Mapping[str, Any], who: str = "") -> Any:
        """Raises ConsoleError when it says no, EngineAway."""
        reader, writer = await self._open(verb, arguments, who)
        try:
            answer = await reader.read()
        except OSError as error:
            raise EngineAway(str(error)) from error
        finally:
            writer.close()
        return _result(answer)["result"]

    async def follow(self, verb: str, arguments: Mapping[str, Any], who: str = "") -> AsyncIterator[Any]:
        """The items of an answer that comes piece by piece. Raises as `ask`."""
        reader, writer = await self._open(verb, arguments, who)
        try:
            while True:
                try:
                    line = await reader.readline()
                except (OSError, ValueError) as error:
                    raise EngineAway(str(error)) from error
                reply = _result(line)
                if "item" not in reply:
                    return
                yield reply["item"]
        finally:
            writer.close()

    async def _open(
        self, verb: str, arguments: Mapping[str, Any], who: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        request = json.dumps({**arguments, "verb": verb, "who": who}).encode() + b"\n"
        try:
            with short(self._folder, self._name) as path:
                reader, writer = await asyncio.open_unix_connection(path, limit=_MAX_ITEM)
            writer.write(request)
            with contextlib.suppress(ConnectionError):  # it may have answered already
                await writer.drain()
        except OSError as error:
            raise EngineAway(str(error)) from error
        return reader, writer


def _result(line: bytes) -> dict[str, Any]:
    if not line:
        raise EngineAway("it hung up")
    try:
        reply: dict[str, Any] = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise EngineAway(f"it did not answer whole: {error}") from error
    if "error" in reply:
        raise ConsoleError(reply["error"])
    return reply


class ControlAway(Exception):
    """Control does not answer. Mail goes on meanwhile; the text is fit for the operator."""

    def __init__(self) -> None:
        super().__init__("the control process does not answer just now; mail goes on. Ask again in some seconds")


class RemoteConsole:
    """The console of the whole server, for an engine's HTTP clients: it asks control. Implements api.Admin."""

    refusal = ConsoleError
    absence = ControlAway

    def __init__(self, folder: Path) -> None:
        self._line = SocketLine(folder, CONTROL_HTTP)

    def changes(self, verb: str) -> bool | None:
        found = VERBS.get(verb)
        return None if found is None else found.changes

    async def answer(self, verb: str, arguments: dict[str, Any], who: str) -> object:
        if verb == "trace":
            return await self._begun(arguments, who)
        try:
            return await self._line.ask(verb, arguments, who)
        except EngineAway as error:
            raise ControlAway from error

    async def metrics(self) -> str:
        try:
            text: str = await self._line.ask("metrics", {})
        except EngineAway as error:
            raise ControlAway from error
        return text

    async def _begun(self, arguments: dict[str, Any], who: str) -> AsyncIterator[Any]:
        """What is wrong with the request is said before the first line."""
        lines = self._line.follow("trace", arguments, who)
        try:
            await anext(lines)  # the one that says it has begun
        except EngineAway as error:
            raise ControlAway from error
        return _rest(lines)


async def _rest(lines: AsyncIterator[Any]) -> AsyncIterator[Any]:
    with contextlib.suppress(EngineAway):
        async for line in lines:
            yield line
