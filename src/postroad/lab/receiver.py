"""One SMTP session of a simulated mailbox provider: an asyncio protocol of its own, sharing no code with `inject`, so
that the far end of a test is an independent reading of RFC 5321.

It is lenient where that shows what was really sent: only CRLF "." CRLF ends the content, and every other octet between
is recorded as it came.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from postroad.lab.rules import Case, Rule, Step

if TYPE_CHECKING:
    from postroad.lab.provider import Provider

_MAX_COMMAND = 8192
_MAX_RECIPIENTS = 1000
_PATH = re.compile(
    rb"(?:FROM|TO):[ ]?<((?:\"(?:[^\"\\]|\\.)*\"|[^\">])*)>([^\r\n]*)\Z",
    re.IGNORECASE,
)
_SIZE = re.compile(rb" SIZE=(\d{1,18})", re.IGNORECASE)


class Receiver(asyncio.Protocol):
    """A session. What happens at each step is asked of the provider's rules; what is accepted goes to its ledger."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.source = ""
        self.heard_at = self._loop.time()
        self._out: list[bytes] = []
        # Octets not looked at yet: commands that wait for a delayed reply, or a command's beginning.
        self._input = b""
        # The content so far, once DATA was accepted. None: commands are expected.
        self._content: bytearray | None = None
        self._scan = 0
        self._stuffed = False
        self._too_large = False
        self._ended = False
        self._delayed: asyncio.TimerHandle | None = None
        self._greeted = False
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._utf8 = False
        self._messages = 0

    # The asyncio side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by class.
        self._transport = cast(asyncio.Transport, transport)
        self.source = transport.get_extra_info("peername")[0]
        if not self._provider.opened(self):
            self._out.append(b"421 4.3.2 Too many sessions\r\n")
            self._end()
            return
        self._judge("connect", self._provider.banner, None)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._delayed:
            self._delayed.cancel()
        self._ended = True
        self._provider.closed(self)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        if self._delayed:
            self._input += data
            return
        if self._ended:
            return
        self._work(self._input + data if self._input else data)
        self._flush()

    def eof_received(self) -> bool:
        return False

    def hang_up(self) -> None:
        """Drop the connection at once."""
        if self._transport:
            self._transport.abort()

    def _flush(self) -> None:
        if self._out and self._transport and not self._ended:
            self._transport.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
        self._out.clear()

    def _end(self) -> None:
        """Send what was answered and close."""
        self._flush()
        self._ended = True
        if self._transport:
            self._transport.close()

    # The protocol

    def _work(self, data: bytes) -> None:
        """Take commands and content from the octets that came; keep an unfinished rest in `_input`."""
        self._input = b""
        while data and not self._ended:
            if self._content is not None:
                data = self._take_content(data)
            else:
                line, newline, rest = data.partition(b"\n")
                if not newline or len(line) > _MAX_COMMAND:
                    self._input = data
                    if len(line) > _MAX_COMMAND:
                        self._out.append(b"500 5.5.2 Line too long\r\n")
                        self._end()
                    return
                data = rest
                self._command(line.rstrip(b"\r"))
            if self._delayed:
                self._input = bytes(data)
                return

    def _command(self, line: bytes) -> None:
        handler = _COMMANDS.get(line[:4].upper())
        if handler is None:
            self._out.append(b"500 5.5.2 Unknown command\r\n")
        else:
            handler(self, line)

    def _ehlo(self, line: bytes) -> None:
        reply = self._provider.ehlo if line[:1] in b"Ee" else self._provider.helo

        def greet() -> None:
            self._greeted = True
            self._reset()

        self._judge("ehlo", reply, greet)

    def _mail(self, line: bytes) -> None:
        path = _PATH.search(line, 5)
        if not self._greeted or self._sender is not None:
            self._out.append(b"503 5.5.1 Not now\r\n")
        elif path is None:
            self._out.append(b"501 5.5.4 MAIL FROM:<address>\r\n")
        else:
            sender, parameters = path[1], path[2].upper()
            size = _SIZE.search(parameters)
            utf8 = b" SMTPUTF8" in parameters
            if size and int(size[1]) > self._provider.max_size:
                self._out.append(b"552 5.3.4 Message too large\r\n")
            elif utf8 and not self._provider.smtputf8:
                self._out.append(b"555 5.5.4 SMTPUTF8 is not offered here\r\n")
            elif b" BODY=8BITMIME" in parameters and not self._provider.eightbit:
                self._out.append(b"555 5.5.4 8BITMIME is not offered here\r\n")
            elif (address := self._address(sender, utf8)) is not None:

                def begin() -> None:
                    self._sender, self._utf8 = address, utf8

                self._judge("mail", b"250 2.1.0 OK\r\n", begin, sender=address)

    def _rcpt(self, line: bytes) -> None:
        path = _PATH.search(line, 5)
        if self._sender is None:
            self._out.append(b"503 5.5.1 MAIL first\r\n")
        elif path is None or not path[1]:
            self._out.append(b"501 5.5.4 RCPT TO:<address>\r\n")
        elif len(self._recipients) >= _MAX_RECIPIENTS:
            self._out.append(b"452 4.5.3 Too many recipients\r\n")
        elif (address := self._address(path[1], self._utf8)) is not None:
            if not self._provider.serves(address):
                self._out.append(b"550 5.7.1 We do not relay\r\n")
            else:
                self._judge(
                    "rcpt", b"250 2.1.5 OK\r\n", lambda: self._recipients.append(address), recipients=(address,)
                )

    def _address(self, raw: bytes, utf8: bool) -> str | None:
        """The address as text, or None after a refusal was answered."""
        try:
            return raw.decode("utf-8" if utf8 else "ascii")
        except UnicodeDecodeError:
            self._out.append(b"553 5.6.7 Not an address I can take\r\n")
            return None

    def _data(self, line: bytes) -> None:
        if self._sender is None:
            self._out.append(b"503 5.5.1 MAIL first\r\n")
        elif not self._recipients:
            self._out.append(b"554 5.5.1 No valid recipients\r\n")
        else:

            def receive() -> None:
                # A line break stands in front of the content, so that a dot in its first line is found like any other.
                self._content = bytearray(b"\r\n")
                self._scan = 0
                self._stuffed = self._too_large = False

            self._judge("data", b"354 Go ahead\r\n", receive, recipients=self._recipients)

    def _rset(self, line: bytes) -> None:
        self._reset()
        self._out.append(b"250 2.0.0 OK\r\n")

    def _noop(self, line: bytes) -> None:
        self._out.append(b"250 2.0.0 OK\r\n")

    def _quit(self, line: bytes) -> None:
        self._out.append(b"221 2.0.0 Bye\r\n")
        self._end()

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []
        self._utf8 = False

    # The content

    def _take_content(self, data: bytes) -> bytes:
        """Look for the end of the content in one scan. Returns what follows it, or b"" when it has not come yet."""
        content = self._content
        assert content is not None
        content += data
        position = self._scan
        while (position := content.find(b"\r\n.", position)) >= 0:
            following = content[position + 3 : position + 5]
            if following == b"\r\n":
                rest = bytes(content[position + 5 :])
                self._content = None
                self._received(content, position)
                return rest
            if len(following) < 2:
                break
            self._stuffed = True
            position += 3
        self._scan = position if position >= 0 else max(0, len(content) - 2)
        # Twice, since stuffing may add a third.
        if len(content) > 2 * self._provider.max_size + 2 and self._scan:
            # Keep looking for the end, but not the octets.
            self._too_large = True
            del content[: self._scan]
            self._scan = 0
        return b""

    def _received(self, raw: bytearray, end: int) -> None:
        # `raw` begins with the line break that receive() put there and ends, for us, before the final dot.
        if self._stuffed:
            # A dot that begins a line and is not alone was put there by the client (RFC 5321 4.5.2).
            content = bytes(raw[: end + 2].replace(b"\r\n.", b"\r\n")[2:])
        else:
            content = bytes(memoryview(raw)[2 : end + 2])
        if self._too_large or len(content) > self._provider.max_size:
            self._reset()
            self._out.append(b"552 5.3.4 Message too large\r\n")
            return
        sender, recipients = self._sender or "", self._recipients

        def keep() -> None:
            self._messages += 1
            self._provider.keep(self.source, sender, recipients, content)

        self._reset()
        self._judge("message", b"250 2.0.0 OK\r\n", keep, sender=sender, recipients=recipients, content=content)

    # The rules

    def _judge(
        self,
        step: Step,
        welcome: bytes,
        accept: Callable[[], None] | None,
        *,
        sender: str | None = None,
        recipients: tuple[str, ...] | list[str] = (),
        content: bytes = b"",
    ) -> None:
        """Ask the rules about this step, then answer, now or after a delay. accept: what a good reply brings about."""
        rules = self._provider.rules
        rule = None
        if rules.has(step):
            case = Case(
                self.source,
                self._sender or "" if sender is None else sender,
                recipients,
                content,
                self._provider.sessions_of(self.source),
                self._messages,
            )
            rule = rules.match(step, case, self._loop.time())
        if rule is None:
            if accept:
                accept()
            self._out.append(welcome)
        elif rule.delay:
            self._flush()
            self._delayed = self._loop.call_later(rule.delay, self._resume, rule, welcome, accept)
            if self._transport:
                self._transport.pause_reading()
        else:
            self._answer(rule, welcome, accept)

    def _resume(self, rule: Rule, welcome: bytes, accept: Callable[[], None] | None) -> None:
        self._delayed = None
        if self._ended:
            return
        if self._transport:
            self._transport.resume_reading()
        self._answer(rule, welcome, accept)
        self._work(self._input)
        self._flush()

    def _answer(self, rule: Rule, welcome: bytes, accept: Callable[[], None] | None) -> None:
        good = rule.reply[:1] in ("", "2", "3")
        if good and accept and not (rule.close == "instead" and not rule.reply):
            accept()
        if rule.close == "instead":
            # What was answered before goes out; this step's reply does not.
            self._end()
            return
        self._out.append(rule.reply.encode() + b"\r\n" if rule.reply else welcome)
        # 421 announces that the channel closes (RFC 5321 3.8).
        if rule.close == "after" or rule.reply.startswith("421"):
            self._end()


_COMMANDS: dict[bytes, Callable[[Receiver, bytes], None]] = {
    b"EHLO": Receiver._ehlo,
    b"HELO": Receiver._ehlo,
    b"MAIL": Receiver._mail,
    b"RCPT": Receiver._rcpt,
    b"DATA": Receiver._data,
    b"RSET": Receiver._rset,
    b"NOOP": Receiver._noop,
    b"QUIT": Receiver._quit,
}
