"""Gathering the content of one message: DATA up to CRLF.CRLF, or BDAT chunks, in the pieces the socket gave.

No line is looked at by itself. Each piece is scanned by two regular expressions that run in C (measured on text of
10 KB: 5 + 4 us, where bytes.find of the terminator alone takes 4 and a test for bare line ends another 14), and is kept
as it came until the message is whole. What could be hidden by the border of two pieces is found by scanning each
piece together with the last octets of the one before.

Only CRLF.CRLF ends the content. A bare CR or LF is remembered and refuses the message once it has been read to its end,
so that nothing a lenient peer takes for the end of data is ever taken for a command by us (SMTP smuggling).
"""

from __future__ import annotations

import re

from postroad.config.schema import ListenerOptions
from postroad.inject import replies
from postroad.message import Reply
from postroad.message.header import count, header_end
from postroad.message.model import has_dotted_line

_END = b"\r\n.\r\n"
_BORDER = len(_END) - 1
# The first LF that is bare, or that has a dot behind it: the end of data, or a line that was dot-stuffed.
_NOT_PLAIN = re.compile(rb"\n(?:\.|(?<!\r\n))")
_BARE_LF = re.compile(rb"\n(?<!\r\n)")
_BARE_CR = re.compile(rb"\r[^\n]")  # a CR at the end of a piece is judged with the next one
# A message may be this much longer than the limit before it is thrown away in mid-flight: exactness comes at the end.
_SLACK = 1024
# A shorter piece is joined to the one before it: each piece takes 33 octets besides its own, which `held` leaves out.
_CRUMB = 1024


class Reader:
    """What DATA and BDAT have in common: pieces kept, size counted, faults remembered. Octets all through.

    finished: the content, or this chunk of it, is all here.
    held: octets in memory. Once the limit is passed, or after `shed`, nothing more is kept, but reading goes on.
    """

    __slots__ = ("_bare", "_fault", "_limit", "_pieces", "_plain", "_stuffed", "_tail", "finished", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        # The CRLF of the command line stands in front of the content: ".CRLF" alone ends an empty message.
        self._tail = b"\r\n"
        self._plain = True
        self._stuffed = 0
        self._bare = False  # a bare CR or LF was seen
        self._fault: Reply | None = None
        self.finished = False
        self.held = 0

    def shed(self, reply: Reply) -> None:
        """Keep nothing of this message; refuse it with this reply when it has been read."""
        if self._fault is None:
            self._fault = reply
        self._drop()

    @property
    def fault(self) -> Reply | None:
        """Why the message will be refused, or None. Does not depend on how the octets were cut into pieces."""
        return replies.BARE_LINE_END if self._bare else self._fault

    def _drop(self) -> None:
        self._pieces.clear()
        self.held = 0

    def _keep(self, piece: bytes) -> None:
        if self._fault is not None:
            return
        if len(piece) < _CRUMB and self._pieces and len(self._pieces[-1]) < _CRUMB:
            self._pieces[-1] += piece
        else:
            self._pieces.append(piece)
        self.held += len(piece)
        if self.held - self._stuffed > self._limit + _SLACK:
            self.shed(replies.TOO_BIG)

    def _check(self, window: bytes, end: int) -> None:
        """Look for bare line ends in what has been scanned for the terminator."""
        if not self._bare and (
            _BARE_CR.search(window, 0, end) is not None
            or (not self._plain and _BARE_LF.search(window, 1, end) is not None)
        ):
            self._bare = True
            self.shed(replies.BARE_LINE_END)


class DotReader(Reader):
    """DATA: reads up to and with CRLF.CRLF (RFC 5321 4.1.1.4, 4.5.2)."""

    __slots__ = ()

    def feed(self, data: bytes, start: int) -> int:
        """Take octets from data[start:]. Returns the offset behind the last one taken; `finished` tells of the end."""
        piece = data[start:] if start else data
        tail = self._tail
        window = tail + piece
        end = -1
        if self._plain:
            hit = _NOT_PLAIN.search(window, 1)
            if hit is not None:
                at = hit.start() - 1
                if window.startswith(_END, at):
                    end = at
                elif not _END.startswith(window[at : at + len(_END)]):
                    self._plain = False
        if not self._plain:
            end = window.find(_END)
            # Occurrences that lie in the border as a whole were counted with the piece before.
            self._stuffed += window.count(b"\r\n.", max(len(tail) - 2, 0), len(window) if end < 0 else end + 2)
        if end < 0:
            self._check(window, len(window))
            self._tail = window[-_BORDER:]
            self._keep(piece)
            return len(data)
        self._check(window, end + 2)
        cut = end + 2 - len(tail)  # where the content ends in the piece; below 0 if the end began in the one before
        if cut >= 0:
            self._keep(piece[:cut])
        elif self._pieces:
            kept = b"".join(self._pieces)[:cut]
            self._drop()
            self._keep(kept)
        self.finished = True
        return start + end + len(_END) - len(tail)

    def result(self) -> tuple[bytes, bool] | Reply:
        """The content without dot-stuffing, and whether a line still begins with a dot; or why it is refused."""
        fault = self.fault
        if fault is not None:
            return fault
        content = b"".join(self._pieces)
        if self._plain:
            return content, False
        # One CRLF more in front makes the first line like any other.
        content = (b"\r\n" + content).replace(b"\r\n.", b"\r\n")[2:]
        return content, has_dotted_line(content)


class ChunkReader(Reader):
    """BDAT: reads as many octets as each command says; the content is opaque but for bare line ends (RFC 3030)."""

    __slots__ = ("_left", "last", "octets")

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._left = 0
        self.octets = 0
        self.last = False

    def expect(self, octets: int, last: bool) -> None:
        """A BDAT command announces its octets. last: they end the message."""
        self._left = self.octets = octets
        self.last = last
        self.finished = octets == 0

    def feed(self, data: bytes, start: int) -> int:
        """Take octets from data[start:]. Returns the offset behind the last one taken; `finished` tells of the end."""
        end = min(len(data), start + self._left)
        piece = data[start:end]
        self._left -= len(piece)
        self.finished = self._left == 0
        window = self._tail + piece
        if self._plain and _NOT_PLAIN.search(window, 1) is not None:
            self._plain = False
        self._check(window, len(window))
        self._tail = window[-_BORDER:]
        self._keep(piece)
        return end

    def result(self) -> tuple[bytes, bool] | Reply:
        """The content, and whether a line begins with a dot; or why it is refused."""
        # First, so that it is told of a message that is too big as well: as of any other bare line end.
        if self._tail.endswith(b"\r"):
            return replies.BARE_LINE_END
        fault = self.fault
        if fault is not None:
            return fault
        content = b"".join(self._pieces)
        if content and not content.endswith(b"\r\n"):
            # Sent on by DATA it would get this CRLF anyway, and without it the final dot would not be one.
            content += b"\r\n"
        return content, not self._plain


def inspect(content: bytes, options: ListenerOptions, hostname: str = "") -> int | Reply:
    """Hold a whole message against the listener's limits. Returns the length of its header section, or the refusal.
    hostname: ours, by which our own Received fields are known; "": they are not looked for."""
    if len(content) > options.max_message_size:
        return replies.TOO_BIG
    if b"\0" in content:
        return replies.NUL
    if len(content) > options.max_line_length and _has_long_line(content, options.max_line_length):
        return replies.LINE_OF_CONTENT_TOO_LONG
    end = header_end(content)
    if end > options.max_headers_size:
        return replies.HEADER_TOO_BIG
    # Not worth a scan unless there is room for so many.
    if end > options.max_hops * len("Received:\r\n") and count(content, b"Received", end) > options.max_hops:
        return replies.TOO_MANY_HOPS
    if hostname and own_hops(content, end, hostname) > options.max_own_hops:
        return replies.OUR_LOOP
    return end


def own_hops(content: bytes, end: int, hostname: str) -> int:
    """How often the message has been here before: Received fields in its header as message/trace.py writes ours, with
    an id of ours. end: octets of the header section."""
    by = b"\tby %b with " % hostname.encode()
    # Mostly there is none, and one search tells.
    if content.find(by, 0, end) < 0:
        return 0
    return len(re.findall(rb"\n%b[A-Z0-9]{1,20} id [0-9a-f]{16}[;\r]" % re.escape(by), content[:end]))


def _has_long_line(content: bytes, limit: int) -> bool:
    """Is a line longer than `limit` octets, its CRLF not counted? One step a `limit`, not one a line."""
    start, size = 0, len(content)
    while size - start > limit:
        line_end = content.rfind(b"\n", start, start + limit + 2)
        if line_end < 0:
            return True
        start = line_end + 1
    return False
