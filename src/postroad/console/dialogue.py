"""An SMTP dialogue as an operator may see it: line by line, secrets masked, content cut. Pure."""

from __future__ import annotations

_LONGEST = 1000  # octets of a line that are shown
_VERBS = frozenset(b"EHLO HELO LHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY EXPN HELP STAR AUTH".split())
_TAIL = b"\r\n.\r\n"


class _Side:
    """A line that is not whole yet."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = b""

    def lines(self, data: bytes) -> list[bytes]:
        *whole, held = (self.held + data).split(b"\n")
        # An endless line is cut rather than kept.
        self.held = held[: _LONGEST + 1]
        return [line.rstrip(b"\r") for line in whole]


class Dialogue:
    """Feed it what passed, in the order in which it passed. Who begins to listen in the middle of a session sees
    nothing of the client until the server has said something, and then only lines that are commands: the rest could be
    content, or a secret."""

    def __init__(self, *, whole: bool) -> None:
        """whole: from the session's first octet on."""
        self._client = _Side()
        self._server = _Side()
        self._whole = self._sure = whole
        self._secret = False  # from AUTH to its last reply: all the client says may be a secret, asked for or not
        self._chunk = 0  # octets of a BDAT chunk that are still to come
        self._content: int | None = None  # octets of content so far, while it comes
        self._first = b""
        self._end = b"\r\n"  # the last octets of content: a dot ends it at the begin of a line

    def client(self, data: bytes) -> list[str]:
        if not self._sure:
            return []
        shown: list[str] = []
        while data:
            if self._content is not None:
                data = self._take_content(data, shown)
            elif self._chunk:
                self._chunk, data = max(0, self._chunk - len(data)), data[self._chunk :]
            else:
                line, newline, data = data.partition(b"\n")
                for one in self._client.lines(line + newline):
                    told = self._masked(one)
                    if self._whole or told == "(secret)" or one[:4].upper() in _VERBS:
                        shown.append("C: " + told)
        return shown

    def server(self, data: bytes) -> list[str]:
        lines = self._server.lines(data)
        for line in lines:
            self._sure = True
            code = line[:3]
            if line[3:4] == b"-":
                continue
            # Replies to commands before AUTH may still come: only 235 and refusals are its end.
            self._secret = code == b"334" or (self._secret and code[:1] == b"2" and code != b"235")
            if code == b"354":
                self._content, self._first, self._end = 0, b"", b"\r\n"
        return ["S: " + _text(line) for line in lines]

    def _masked(self, line: bytes) -> str:
        if self._secret:
            return "(secret)"
        words = line.split()
        verb = words[0].upper() if words else b""
        if verb == b"AUTH":
            self._secret = True
            return f"{_text(b' '.join(words[:2]))} (secret)" if len(words) > 2 else _text(line)
        if verb == b"BDAT" and len(words) > 1 and words[1].isdigit() and len(words[1]) < 12:
            self._chunk = int(words[1])
        return _text(line)

    def _take_content(self, data: bytes, shown: list[str]) -> bytes:
        """What of the data lies behind the content's end."""
        assert self._content is not None
        if b"\n" not in self._first:
            self._first = (self._first + data[: _LONGEST + 1])[: _LONGEST + 1]
        joined = self._end + data
        at = joined.find(_TAIL)
        if at < 0:
            self._content += len(data)
            self._end = joined[-4:]
            return b""
        rest = joined[at + len(_TAIL) :]
        size = self._content + len(data) - len(rest) - 3
        first = self._first.split(b"\r\n")[0]
        shown.append(f"C: {_text(first)} ... ({max(0, size)} octets of content)")
        shown.append("C: .")
        self._content = None
        return rest


def _text(line: bytes) -> str:
    """Printable, on one line, bounded."""
    text = line[:_LONGEST].decode("utf-8", "backslashreplace")
    if len(line) > _LONGEST:
        text += "..."
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
