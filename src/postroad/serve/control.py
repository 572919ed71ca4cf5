"""The control socket: how commands on this machine ask a running engine. One JSON line in, one JSON line out.

It lies in the data folder with the folder's rights (0600), so whoever may ask may read the mail anyway. The HTTP admin
API of the console will stand on the same answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

_MAX_REQUEST = 65_536
_TIMEOUT = 10.0  # seconds a command waits for the answer

# A Unix socket's path may have about 107 octets; data folders lie deeper than that. Both ends then go through a
# descriptor of the folder, whose path under /proc is short.
_SOCKET = "control.sock"

Answer = Callable[..., object]


class ControlError(Exception):
    """The engine could not be asked, or said no. The message is fit for the user."""


class ControlServer:
    """answers: verb -> function with keyword arguments, returning something msgspec can encode."""

    def __init__(self, data_dir: Path, answers: dict[str, Answer]) -> None:
        self._data_dir = data_dir
        self._answers = answers
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        path = self._data_dir / _SOCKET
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # the journal's lock says that no other engine lives here
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with _short(self._data_dir) as short:
            mask = os.umask(0o177)
            try:
                sock.bind(short)
            finally:
                os.umask(mask)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=_MAX_REQUEST)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            with contextlib.suppress(FileNotFoundError):
                (self._data_dir / _SOCKET).unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, ValueError):
            line = await asyncio.wait_for(reader.readline(), _TIMEOUT)
            writer.write(msgspec.json.encode(self._answer(line)) + b"\n")
            await writer.drain()
        writer.close()

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
            verb = request.pop("verb")
            answer = self._answers[verb]
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"error": f"no such request; known verbs: {', '.join(sorted(self._answers))}"}
        try:
            return {"result": answer(**request)}
        except (TypeError, ValueError) as error:
            return {"error": str(error)}


def ask(data_dir: Path, verb: str, **arguments: object) -> Any:
    """Ask the engine that owns this data folder. Raises ControlError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, _short(data_dir) as short:
            sock.settimeout(_TIMEOUT)
            sock.connect(short)
            sock.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            with sock.makefile("rb") as stream:
                reply = json.loads(stream.readline())
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(f"no server is running on {data_dir} (start one with `postroad serve`)") from None
    except (OSError, ValueError) as error:
        raise ControlError(f"the server on {data_dir} did not answer: {error}") from None
    if "error" in reply:
        raise ControlError(reply["error"])
    return reply["result"]


@contextlib.contextmanager
def _short(data_dir: Path) -> Any:
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{_SOCKET}"
    finally:
        os.close(folder)
