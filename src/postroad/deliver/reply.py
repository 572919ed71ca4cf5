"""Reading a peer's replies (RFC 5321 4.2) from whatever pieces they arrive in. Everything here is hostile input: what
is kept is bounded, what is shown is cleaned."""

from __future__ import annotations

import re

# RFC 5321 4.5.3.1.5 allows 512 octets a line; real hosts exceed it with long URLs, none by eight times.
MAX_LINE = 4096
MAX_REPLY = 32768
MAX_TEXT = 2000  # characters kept of a reply's text

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |\Z)")


class ReplyError(Exception):
    """What came is no SMTP reply. The message says what it was, shortened."""


class ReplyReader:
    """Feed it octets, ask `next` for the code of each complete reply. `text` and `lines` are of the last one."""

    __slots__ = ("_at", "_data", "_lines", "_octets", "lines")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._lines: list[bytes] = []  # of a reply that has not ended
        self._octets = 0
        self.lines: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def next(self) -> int:
        """The next reply's code, 200 to 599; 0 while none is complete. Lines may end in LF alone: no harm in that here.

        Raises ReplyError.
        """
        data = self._data
        while (end := data.find(b"\n", self._at)) >= 0:
            line = data[self._at : end]
            self._at = end + 1
            if line.endswith(b"\r"):
                line = line[:-1]
            self._octets += len(line)
            if len(line) > MAX_LINE or self._octets > MAX_REPLY:
                raise ReplyError("a reply without end")
            code = line[:3]
            mark = line[3:4]
            if len(code) < 3 or not code.isdigit() or code[0] not in b"2345" or mark not in (b" ", b"-", b""):
                raise ReplyError(f"no SMTP reply: {clean(line[:80])!r}")
            self._lines.append(line[4:])
            if mark != b"-":
                self.lines = self._lines
                self._lines = []
                self._octets = 0
                return int(code)
        if len(data) - self._at > MAX_LINE:
            raise ReplyError("a reply line without end")
        return 0

    def pending(self) -> bool:
        """Has a reply begun that is not complete?"""
        return bool(self._lines) or self._at < len(self._data)

    def text(self) -> str:
        """The last reply's text: its lines joined by " / ", an enhanced code that each line repeats given once."""
        lines = self.lines
        if len(lines) == 1:
            return clean(lines[0])[:MAX_TEXT]
        first = clean(lines[0])
        enhanced = _ENHANCED.match(first)
        parts = [first]
        for raw in lines[1:]:
            line = clean(raw)
            again = _ENHANCED.match(line)
            if enhanced and again and again[0] == enhanced[0]:
                line = line[len(enhanced[0]) :].lstrip()
            if line:
                parts.append(line)
        return " / ".join(parts)[:MAX_TEXT]


def clean(raw: bytes) -> str:
    """Text that may stand in a log, an event or a notification: no control characters, nothing undecodable."""
    text = raw.decode("utf-8", "replace")
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text).strip()
