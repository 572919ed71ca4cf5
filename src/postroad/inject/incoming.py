"""The octets a client has sent and that are not yet used up: whole command lines, or content, come out of here."""

from __future__ import annotations

from postroad.inject.content import ChunkReader, DotReader


class LineTooLong(Exception):
    """A command line longer than the limit has ended. Nothing of it was kept."""


class Incoming:
    """A buffer that holds one read of the socket as it is; only an unfinished line is ever copied to a new one.

    data: empty when everything is used up.
    """

    __slots__ = ("_at", "_overlong", "_swallow", "data")

    def __init__(self) -> None:
        self.data = b""
        self._at = 0  # what lies before is used up
        self._overlong = False  # in the midst of a line that is too long
        self._swallow = 0  # octets to come that nobody wants

    def __len__(self) -> int:
        return len(self.data) - self._at

    def receive(self, data: bytes) -> None:
        self.data = self.data[self._at :] + data if self.data else data
        self._at = 0

    def line(self, limit: int) -> bytes | None:
        """The next line without its CRLF; None when it has no end yet. limit: octets with CRLF. Raises LineTooLong.

        Of an unfinished line no more than `limit` octets stay in memory.
        """
        at = self._at
        end = self.data.find(b"\r\n", at)
        if end < 0:
            if len(self.data) - at > limit or self._overlong:
                self._overlong = True
                self.data, self._at = self.data[-1:], 0  # the last octet may be the CR of the line's end
            return None
        line = self.data[at:end]
        self._move(end + 2)
        if self._overlong or len(line) + 2 > limit:
            self._overlong = False
            raise LineTooLong
        return line

    def pour(self, reader: DotReader | ChunkReader) -> None:
        """Let a content reader take what it wants."""
        if self.data:
            self._move(reader.feed(self.data, self._at))

    def swallow(self, octets: int) -> None:
        """Throw this many octets away, those still to come included."""
        self._swallow = octets

    def swallowed(self) -> bool:
        """Throw away what is here of them. True when that was the last."""
        taken = min(self._swallow, len(self))
        self._swallow -= taken
        self._move(self._at + taken)
        return not self._swallow

    def clear(self) -> None:
        self.data, self._at, self._swallow = b"", 0, 0

    def _move(self, to: int) -> None:
        # What is used up must not stay in memory while the session is idle.
        if to == len(self.data):
            self.data, self._at = b"", 0
        else:
            self._at = to
