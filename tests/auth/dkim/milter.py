"""A mail server's end of the milter protocol (version 6), as far as a signer needs it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

_ACCEPT, _CONTINUE, _ADD, _INSERT, _PROGRESS = b"a", b"c", b"h", b"i", b"p"
_CHUNK = 65_535
_LEADING_SPACE = 0x00100000  # header values go as they are


class Milter:
    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(30)
        self._sock.connect(str(path))

    def __enter__(self) -> Milter:
        return self

    def __exit__(self, *about: object) -> None:
        self._sock.close()

    def fields(self, content: bytes) -> bytes:
        """What it puts in front of this message (CRLF line ends)."""
        self._send(b"O", struct.pack("!III", 6, 0x1FF, _LEADING_SPACE))
        assert self._read()[0] == b"O"
        self._ask(b"C", b"localhost\x004" + struct.pack("!H", 25) + b"127.0.0.1\0")
        self._ask(b"H", b"localhost\0")
        self._ask(b"M", b"<a@example.com>\0")
        self._ask(b"R", b"<b@example.net>\0")
        head, _, body = content.partition(b"\r\n\r\n")
        for line in head.replace(b"\r\n ", b"\n ").replace(b"\r\n\t", b"\n\t").split(b"\r\n"):
            name, _, value = line.partition(b":")
            self._ask(b"L", name + b"\0" + value + b"\0")
        self._ask(b"N", b"")
        for at in range(0, len(body), _CHUNK):
            self._ask(b"B", body[at : at + _CHUNK])
        self._send(b"E", b"")
        found: list[bytes] = []
        while True:
            kind, data = self._read()
            if kind in (_ACCEPT, _CONTINUE):
                return b"".join(reversed(found))
            if kind in (_ADD, _INSERT):
                name, value, _ = (data[4:] if kind == _INSERT else data).split(b"\0")
                found.append(name + b":" + value.replace(b"\n", b"\r\n") + b"\r\n")
            else:
                assert kind == _PROGRESS, (kind, data)

    def _ask(self, kind: bytes, data: bytes) -> None:
        self._send(kind, data)
        told, _ = self._read()
        assert told == _CONTINUE, (kind, told)

    def _send(self, kind: bytes, data: bytes) -> None:
        self._sock.sendall(struct.pack("!I", len(data) + 1) + kind + data)

    def _read(self) -> tuple[bytes, bytes]:
        (length,) = struct.unpack("!I", self._exactly(4))
        data = self._exactly(length)
        return data[:1], data[1:]

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._sock.recv(count - len(data))
            assert piece, "the milter hung up"
            data += piece
        return data
