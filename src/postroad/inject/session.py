"""One SMTP session: a thin asyncio protocol between the socket, the machine, and whoever accepts the mail.

Timers: one a session, armed anew only when it fires (a timer a command would cost more than the command). Flow: nothing
is read while replies pile up unread, nor while much has been sent behind a question that is still open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from postroad.inject import replies
from postroad.inject.commands import hello_domain
from postroad.inject.events import Connect, Content, Data, Envelope, Hello, Mail, Rcpt, Refusal
from postroad.inject.machine import Machine
from postroad.inject.peers import Peer, plain_address
from postroad.inject.transaction import build_transaction
from postroad.message import Accepted, Context, Refused, Rejection, Reply, message_id_text

if TYPE_CHECKING:
    from postroad.inject.server import SmtpListener

UNREAD_LIMIT = 1 << 16  # octets a client may send behind an open question before we stop reading
FAIR_SHARE = 1 << 16  # octets of content any session may hold, however short memory is
READ_SIZE = 1 << 16  # octets of one read
LINGER = 5.0  # seconds a client has to read our last words and close


class Session(asyncio.Protocol):
    """Lives from connection_made to connection_lost; the listener knows it for that time."""

    __slots__ = (
        "_accepting",
        "_content_since",
        "_context",
        "_eof",
        "_held",
        "_identifier",
        "_last",
        "_listener",
        "_loop",
        "_machine",
        "_over",
        "_peer",
        "_reading",
        "_timer",
        "_transport",
        "_unwritten",
        "remote",
    )

    _transport: asyncio.Transport
    _machine: Machine
    _peer: Peer
    _timer: asyncio.TimerHandle

    def __init__(self, listener: SmtpListener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._loop = loop
        self.remote = "unknown"
        self._context: Context = {}
        self._accepting = False  # inside acceptor.accept
        self._over = False  # our last reply is written, or the connection is gone
        self._eof = False  # the client sends nothing more
        self._reading = True
        self._unwritten = False  # the client does not read its replies
        self._held = 0  # octets of content, as the listener has them in its sum
        self._last = loop.time()  # when the client last got something done
        self._content_since = -1.0  # when its content began to arrive
        self._identifier = ""

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if hasattr(transport, "max_size"):
            # asyncio's own transports make room for 256 KB at each read, which malloc gets from the system and gives
            # back every time: twice the CPU of a message of 10 KB. No other loop has this attribute, or needs it.
            transport.max_size = READ_SIZE
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            self.remote = plain_address(str(name[0]))
        self._peer = self._listener.peers.find(self.remote)
        self._machine = Machine(self._peer.options, self._listener.hostname)
        self._timer = self._loop.call_later(self._next_look(), self._look)
        self._listener.enter(self, self._peer)
        self._pump()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._listener.tap is not None:
            self._listener.tap.passed(self, "", self.remote, True, data)
        self._machine.receive(data)
        self._pump()

    def eof_received(self) -> bool:
        """What the client sent before is still answered; the transport is closed once that is done."""
        self._eof = True
        return not self._over and (self._machine.waiting or self._unwritten)

    def pause_writing(self) -> None:
        self._unwritten = True
        self._read_or_not()

    def resume_writing(self) -> None:
        self._unwritten = False
        self._pump()

    def connection_lost(self, error: Exception | None) -> None:
        self._over = True
        self._timer.cancel()
        if self._listener.tap is not None:
            self._listener.tap.over(self)
        self._listener.leave(self, self._peer, self._held)
        self._held = 0

    # What the listener wants.

    def leave_if_at_rest(self) -> None:
        """The listener is being drained: go now, or when the transaction is over."""
        if not self._over and self._machine.at_rest:
            self.end(replies.SHUTTING_DOWN)

    def end(self, reply: Reply) -> None:
        """Say this, whatever is going on, and end the session."""
        if not self._over:
            self._machine.end(reply)
            self._pump()

    def cut(self) -> None:
        """The drain's time is over."""
        if self._machine.waiting:
            # The message may be kept this very moment: 421 would deny it, where a lost connection leaves it open.
            self.abort()
        else:
            self.end(replies.SHUTTING_DOWN)

    def abort(self) -> None:
        self._transport.abort()

    # The work.

    def _pump(self) -> None:
        """Go on as far as can be gone: answer what can be answered, write what there is to say."""
        machine = self._machine
        while not self._over:
            event = machine.next_event()
            if event is not None:
                _HANDLERS[type(event)](self, event)
                continue
            out = machine.take_output()
            if out:
                if self._listener.tap is not None:
                    self._listener.tap.passed(self, "", self.remote, False, out)
                self._transport.write(out)
            # Without output there is nothing it could have waited for the room of.
            if not out or self._unwritten or not machine.has_unread:
                break
        if not self._over:
            self._settle()

    def _settle(self) -> None:
        """After the work: note progress, memory and flow, and see whether the session is over."""
        machine = self._machine
        if machine.closed or (self._eof and not machine.waiting and not self._unwritten):
            self._finish()
            return
        if machine.content_under_way:
            self._last = self._loop.time()
            if self._content_since < 0:
                self._content_since = self._last
            if machine.held != self._held:
                self._account()
        else:
            self._content_since = -1.0
            if self._held:
                self._account()
            # Half a command line is no progress: one octet a minute must not keep a session open for ever.
            if not machine.has_unread:
                self._last = self._loop.time()
            if self._listener.draining and machine.at_rest:
                machine.end(replies.SHUTTING_DOWN)
                self._pump()
                return
        if self._unwritten or machine.waiting or not self._reading:
            self._read_or_not()

    def _finish(self) -> None:
        """The last word is said."""
        self._over = True
        self._timer.cancel()
        if self._held:
            self._account()
        if self._machine.parted or self._eof or not self._transport.can_write_eof():
            self._transport.close()
            if not self._transport.get_write_buffer_size():
                return
        else:
            # Closing with octets of the client unread would reset the connection and could take our reply with it.
            self._transport.write_eof()
            self._resume_reading()
        self._timer = self._loop.call_later(LINGER, self._transport.abort)

    def _read_or_not(self) -> None:
        hold = self._unwritten or (self._machine.unread > UNREAD_LIMIT and self._machine.waiting)
        if hold and self._reading:
            self._reading = False
            self._transport.pause_reading()
        elif not hold:
            self._resume_reading()

    def _resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _account(self) -> None:
        """Content came or went: keep the listener's sum, and shed what arrives when it is too much."""
        held = self._machine.held
        self._listener.held += held - self._held
        self._held = held
        if held > FAIR_SHARE and self._listener.held > self._peer.options.max_unfinished:
            self._machine.shed(replies.MEMORY_SHORT)
            self._listener.held -= self._held
            self._held = 0

    # Time.

    def _next_look(self) -> float:
        options = self._peer.options
        return float(min(options.idle_time, options.message_time))

    def _look(self) -> None:
        """The timer fired: is the client too slow? Else look again when it could next be."""
        options, now = self._peer.options, self._loop.time()
        if self._machine.waiting:
            wait = self._next_look()  # it is we who are slow
        elif self._content_since >= 0 and now >= self._content_since + options.message_time:
            self.end(replies.MESSAGE_TOO_SLOW)
            return
        elif now >= self._last + options.idle_time:
            self._timed_out()
            return
        else:
            wait = self._last + options.idle_time - now
            if self._content_since >= 0:
                wait = min(wait, self._content_since + options.message_time - now)
            wait = min(wait, self._next_look())
        self._timer = self._loop.call_later(wait, self._look)

    def _timed_out(self) -> None:
        if self._unwritten:
            self.abort()  # who does not read won't read a 421 either
        else:
            self.end(replies.TOO_SLOW)

    # Events of the machine.

    def _on_connect(self, event: Connect) -> None:
        self._machine.answer(self._listener.admit(self.remote, self._peer))

    def _on_hello(self, event: Hello) -> None:
        # A new dict, not a changed one: transactions that were handed over keep theirs.
        context = {"remote_addr": self.remote, "ehlo_string": event.name}
        domain = hello_domain(event.name)
        if domain:
            context["ehlo_domain"] = domain
        if self._peer.options.relay:
            context["can_relay"] = "true"
        self._context = context
        self._machine.answer()

    def _on_mail(self, event: Mail) -> None:
        if self._listener.draining:
            self._machine.answer(replies.SHUTTING_DOWN)
        else:
            self._machine.answer(self._listener.acceptor.refusal())

    def _on_rcpt(self, event: Rcpt) -> None:
        if self._listener.relay_domains.take(event.recipient) or self._peer.options.relay:
            self._machine.answer()
            return
        self._machine.answer(replies.NO_RELAY)
        self._tell_rejected(replies.NO_RELAY, event.envelope, event.recipient.address)

    def _on_data(self, event: Data) -> None:
        self._content_since = self._loop.time()
        self._machine.answer()

    def _on_content(self, event: Content) -> None:
        self._content_since = -1.0
        refusal = self._listener.acceptor.refusal()
        if refusal is not None:
            self._machine.answer(refusal)
            return
        machine = self._machine
        self._identifier = message_id_text(self._listener.ids.next())
        transaction = build_transaction(
            event,
            options=self._peer.options,
            connection=self._context,
            remote=self.remote,
            helo=machine.hello,
            extended=machine.extended,
            hostname=self._listener.hostname,
            identifier=self._identifier,
            wall=self._listener.clock.wall(),
        )
        self._accepting = True
        self._listener.acceptor.accept(transaction, self._kept)
        self._accepting = False

    def _kept(self, result: Accepted | Refused) -> None:
        """The acceptor is done with the transaction. The client may have gone meanwhile."""
        if isinstance(result, Refused):
            self._machine.answer(result.reply)
        else:
            self._machine.answer(Reply(250, f"2.0.0 Ok: queued as {self._identifier}"))
        if not self._accepting:
            self._pump()

    def _on_refusal(self, event: Refusal) -> None:
        self._content_since = -1.0
        if event.reply.code >= 500:
            # Refused at MAIL, by its SIZE, it has no recipients yet.
            for address in [recipient.address for recipient in event.envelope.recipients] or [""]:
                self._tell_rejected(event.reply, event.envelope, address)

    def _tell_rejected(self, reply: Reply, envelope: Envelope, recipient: str) -> None:
        self._listener.acceptor.rejected(
            Rejection(reply, envelope.sender, recipient, self.remote, "esmtp", self._context)
        )


_HANDLERS: dict[type, Callable[[Session, Any], None]] = {
    Connect: Session._on_connect,
    Hello: Session._on_hello,
    Mail: Session._on_mail,
    Rcpt: Session._on_rcpt,
    Data: Session._on_data,
    Content: Session._on_content,
    Refusal: Session._on_refusal,
}
