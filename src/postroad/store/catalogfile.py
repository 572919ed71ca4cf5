"""The catalog as a file: a head, then records that are only ever appended. When it has grown too far it is written anew
beside it and renamed, so that a reader never sees half of it.

head    72 octets: magic (20), id of the database (16), key of hashes (16), seq it was made at (8), at of that (8),
        CRC-32 of these (4)
record  length of the payload (4), CRC-32 of the payload (4), payload
payload MessagePack: [seq, at, kind, subaccount, key, value]; value nil: the object is gone

All numbers little-endian. seq: of the line in `changes` that the record comes from (0: from before the head's seq);
at: milliseconds since 1970 of that line. A file that is damaged or torn is read up to there, and written anew by
control.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

MAGIC = b"postroad catalog 1\n\0"
_HEAD = struct.Struct("<20s16s16sQQ")
_CRC = struct.Struct("<I")
HEAD_SIZE = _HEAD.size + _CRC.size
_FRAME = struct.Struct("<II")
_PIECE = 1 << 20  # octets read at once
MOST = 1 << 30  # octets of a payload; a length beyond is damage


class Head(NamedTuple):
    """database: which one it was made from (16 octets). secret: the key of hashes in it. seq: all changes up to it are
    in what stands first; at: when the last of them was made."""

    database: bytes
    secret: bytes
    seq: int
    at: int = 0


class Record(msgspec.Struct, array_like=True, frozen=True):
    """value: MessagePack, undecoded; nil: the object is gone."""

    seq: int
    at: int
    kind: str
    subaccount: int
    key: str
    value: msgspec.Raw

    @property
    def gone(self) -> bool:
        return bytes(self.value) == _NIL


class Place(NamedTuple):
    """Where a payload lies."""

    offset: int
    length: int


class File:
    """The open file; it is closed when the last who holds it is gone, so that large values can still be read by whoever
    began with it. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        stat = os.fstat(self.fd)
        self.name = stat.st_dev, stat.st_ino

    def __del__(self) -> None:
        fd = getattr(self, "fd", -1)
        if fd >= 0:
            os.close(fd)

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def read(self, place: Place) -> bytes:
        pieces = []
        offset, left = place
        while left and (piece := os.pread(self.fd, left, offset)):
            pieces.append(piece)
            offset += len(piece)
            left -= len(piece)
        return b"".join(pieces)


_NIL = b"\xc0"
_decode = msgspec.msgpack.Decoder(Record).decode
_encode = msgspec.msgpack.Encoder().encode


def pack_head(head: Head) -> bytes:
    octets = _HEAD.pack(MAGIC, head.database, head.secret, head.seq, head.at)
    return octets + _CRC.pack(zlib.crc32(octets))


def read_head(fd: int) -> Head | None:
    """None: it is no catalog, or one of another version."""
    octets = os.pread(fd, HEAD_SIZE, 0)
    if len(octets) < HEAD_SIZE or _CRC.unpack_from(octets, _HEAD.size)[0] != zlib.crc32(octets[: _HEAD.size]):
        return None
    magic, database, secret, seq, at = _HEAD.unpack_from(octets)
    return Head(database, secret, seq, at) if magic == MAGIC else None


def pack_record(seq: int, at: int, kind: str, subaccount: int, key: str, value: object) -> bytes:
    """value: anything MessagePack can hold; None: the object is gone. Raises ValueError when it is too large."""
    payload = _encode((seq, at, kind, subaccount, key, value))
    if len(payload) > MOST:
        raise ValueError(f"{kind} {key[:60]!r} is too large for the catalog: {len(payload)} octets")
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def unpack_record(payload: bytes | memoryview) -> Record:
    return _decode(payload)


def records(fd: int, offset: int) -> Iterator[tuple[Record, Place]]:
    """From here to the end, or to what is not whole. The next offset is `end(place)` of the last one."""
    buffer = b""
    at = 0
    while True:
        if len(buffer) - at < _FRAME.size:
            buffer, at = _more(fd, offset, buffer, at, _FRAME.size)
            if len(buffer) - at < _FRAME.size:
                return
        length, crc = _FRAME.unpack_from(buffer, at)
        if length > MOST:
            return
        whole = _FRAME.size + length
        if len(buffer) - at < whole:
            if os.fstat(fd).st_size < offset + whole:
                return
            buffer, at = _more(fd, offset, buffer, at, whole)
            if len(buffer) - at < whole:
                return
        payload = buffer[at + _FRAME.size : at + whole]
        if zlib.crc32(payload) != crc:
            return
        try:
            record = _decode(payload)
        except msgspec.DecodeError:
            return
        yield record, Place(offset + _FRAME.size, length)
        offset += whole
        at += whole


def end(place: Place) -> int:
    return place.offset + place.length


def _more(fd: int, offset: int, buffer: bytes, at: int, wanted: int) -> tuple[bytes, int]:
    """buffer[at:] is what lies at offset; more of it."""
    have = buffer[at:]
    pieces = [have]
    size = len(have)
    while size < wanted:
        piece = os.pread(fd, max(_PIECE, wanted - size), offset + size)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces), 0


def sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
