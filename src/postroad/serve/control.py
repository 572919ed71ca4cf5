"""The control socket: how commands on this machine ask a running engine. One JSON line in, one JSON line out; some
verbs answer with a line for each thing as it happens, until the asker hangs up.

It lies in the data folder with the folder's rights (0600), so whoever may ask may read the mail anyway. The verbs of
the console are those of the HTTP admin API.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from postroad.console import ConsoleError

_MAX_REQUEST = 65_536
_TIMEOUT = 10.0  # seconds a command waits for the answer

# A Unix socket's path may have about 107 octets; data folders lie deeper than that. Both ends then go through a
# descriptor of the folder, whose path under /proc is short.
_SOCKET = "control.sock"

Answer = Callable[..., object]


class Answering(Protocol):
    """A console: of one engine, or of the server."""

    async def answer(self, verb: str, arguments: dict[str, Any], who: str) -> object:
        """Raises ConsoleError."""


class ControlError(Exception):
    """The engine could not be asked, or said no. The message is fit for the user."""


class ControlServer:
    """answers: verb -> function or coroutine function with keyword arguments, returning something msgspec can encode.
    console: has verbs of its own. socket_name: of the socket in the folder. trusting: who asks may say for whom, as the
    member `who`: for the sockets between our own processes."""

    def __init__(
        self,
        data_dir: Path,
        answers: dict[str, Answer],
        console: Answering | None = None,
        *,
        socket_name: str = _SOCKET,
        trusting: bool = False,
    ) -> None:
        self._trusting = trusting
        self._data_dir = data_dir
        self._name = socket_name
        self._answers = answers
        self._console = console
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        path = self._data_dir / self._name
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # the journal's lock says that no other engine lives here
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with short(self._data_dir, self._name) as name:
            mask = os.umask(0o177)
            try:
                sock.bind(name)
            finally:
                os.umask(mask)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=_MAX_REQUEST)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            with contextlib.suppress(FileNotFoundError):
                (self._data_dir / self._name).unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, ValueError):
            line = await asyncio.wait_for(reader.readline(), _TIMEOUT)
            reply = await self._answer(line, _user(writer))
            result = reply.get("result")
            if isinstance(result, AsyncIterator):
                await self._stream(result, reader, writer)
            else:
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        writer.close()

    async def _stream(
        self, items: AsyncIterator[object], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """A line an item, until there are no more or the asker hangs up."""
        gone = asyncio.ensure_future(reader.read(1))

        async def send() -> None:
            writer.write(b'{"item":null}\n')  # it has begun
            async for item in items:
                writer.write(msgspec.json.encode({"item": item}) + b"\n")
                await writer.drain()
            writer.write(b'{"result":null}\n')

        sending = asyncio.ensure_future(send())
        try:
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)

    async def _answer(self, line: bytes, who: str) -> dict[str, object]:
        try:
            request = json.loads(line)
            verb = request.pop("verb")
            if self._trusting:
                who = str(request.pop("who", "") or who)
            answer = self._answers.get(verb)
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"error": f"no such request; known verbs: {', '.join(sorted(self._answers))}"}
        try:
            if answer is None and self._console is not None:
                return {"result": await self._console.answer(verb, request, who)}
            if answer is None:
                return {"error": f"no such request; known verbs: {', '.join(sorted(self._answers))}"}
            result = answer(**request)
            return {"result": await result if inspect.isawaitable(result) else result}
        except (TypeError, ValueError, ConsoleError) as error:
            return {"error": str(error)}


def _user(writer: asyncio.StreamWriter) -> str:
    """Who is at the other end of the socket, as the system knows it."""
    sock = writer.get_extra_info("socket")
    # Another descriptor of the same socket: not every loop's own lets itself be asked.
    with socket.socket(fileno=os.dup(sock.fileno())) as own:
        _, uid, _ = struct.unpack("3i", own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def ask(data_dir: Path, verb: str, *, wait: float | None = _TIMEOUT, **arguments: object) -> Any:
    """Ask the engine that owns this data folder. wait: seconds, None for as long as it takes. Raises ControlError."""
    for reply in _replies(data_dir, verb, wait, arguments):
        return reply["result"]
    raise ControlError(f"the server on {data_dir} hung up")


def follow(data_dir: Path, verb: str, **arguments: object) -> Iterator[Any]:
    """The items of an answer that comes piece by piece. Raises ControlError."""
    for reply in _replies(data_dir, verb, None, arguments):
        if "item" not in reply:
            return
        if reply["item"] is not None:
            yield reply["item"]


def _replies(data_dir: Path, verb: str, wait: float | None, arguments: dict[str, object]) -> Iterator[dict[str, Any]]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, short(data_dir) as name:
            sock.settimeout(wait)
            sock.connect(name)
            sock.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            with sock.makefile("rb") as stream:
                for line in stream:
                    reply = json.loads(line)
                    if "error" in reply:
                        raise ControlError(reply["error"])
                    yield reply
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(_absent(data_dir)) from None
    except (OSError, ValueError) as error:
        raise ControlError(f"the server on {data_dir} did not answer: {error}") from None


def _absent(data_dir: Path) -> str:
    """Nobody answers. Engines that do say that control alone is away."""
    for path in (data_dir / "run").glob("engine-*.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
            with short(path.parent, path.name) as name:
                sock.connect(name)
            return (
                f"the control process of the server on {data_dir} is away, and is being started again; mail goes on. "
                "Ask again in some seconds"
            )
    return f"no server is running on {data_dir} (start one with `postroad serve`)"


@contextlib.contextmanager
def short(data_dir: Path, name: str = _SOCKET) -> Iterator[str]:
    """A path of the socket that is short enough while the block lasts."""
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{name}"
    finally:
        os.close(folder)
