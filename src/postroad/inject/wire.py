"""The transport side of an SMTP session: octets in and out, TLS, PROXY, flow and time. `session` says the answers.

Timers: one a session, armed anew only when it fires (a timer a command would cost more than the command). Flow: nothing
is read while replies pile up unread, nor while much has been sent behind a question that is still open.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from postroad.inject import replies
from postroad.inject.machine import Machine
from postroad.inject.peers import Peer, plain_address
from postroad.inject.proxy import ProxyError, read_header
from postroad.inject.tlslayer import Peer as TlsPeer
from postroad.inject.tlslayer import TlsLayer
from postroad.message import Context, Reply

if TYPE_CHECKING:
    from postroad.auth.sasl import Exchange as Login
    from postroad.auth.smtpauth import Account
    from postroad.inject.server import SmtpListener

UNREAD_LIMIT = 1 << 16  # octets a client may send behind an open question before we stop reading
FAIR_SHARE = 1 << 16  # octets of content any session may hold, however short memory is
READ_SIZE = 1 << 16  # octets of one read
LINGER = 5.0  # seconds a client has to read our last words and close


class Wire(asyncio.Protocol):
    """Lives from connection_made to connection_lost; the listener knows it for that time."""

    # What answers each of the machine's events; the session fills it.
    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], None]]] = {}

    __slots__ = (
        "_accepting",
        "_began",
        "_content_since",
        "_context",
        "_crypt",
        "_early",
        "_eof",
        "_exchange",
        "_held",
        "_identifier",
        "_last",
        "_listener",
        "_loop",
        "_machine",
        "_marks",
        "_mechanism",
        "_origin",
        "_over",
        "_own",
        "_peer",
        "_proxy",
        "_reading",
        "_task",
        "_timer",
        "_transport",
        "_unwritten",
        "_vouched",
        "account",
        "client_name",
        "remote",
        "tls",
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
        self._marks: Context = {}  # what hooks have put into it
        self._mechanism = ""  # of the last AUTH, or XCLIENT
        self._accepting = False  # inside acceptor.accept
        self._over = False  # our last reply is written, or the connection is gone
        self._eof = False  # the client sends nothing more
        self._reading = True
        self._unwritten = False  # the client does not read its replies
        self._held = 0  # octets of content, as the listener has them in its sum
        self._began = loop.time()
        self._last = self._began  # when the client last got something done
        self._content_since = -1.0  # when its content began to arrive
        self._identifier = ""
        self._crypt: TlsLayer | None = None
        self._proxy: bytes | None = None  # what is here of a PROXY header that has to come first
        self._early: asyncio.TimerHandle | None = None  # the greeting waits, to see who can't
        self._exchange: Login | None = None  # an AUTH exchange under way
        self._task: asyncio.Task[None] | asyncio.Future[Any] | None = None  # what an open question waits for
        self._origin = "unknown"  # the other end of the connection, whomever it speaks for
        self._vouched = False  # by XCLIENT: its TLS is the relay's
        self._own = False  # by its network, its login or its certificate it may send anywhere
        self.account: Account | None = None  # whom AUTH showed the client to be
        self.client_name = ""  # its host name, where a relay told
        self.tls: TlsPeer | None = None

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
        self._origin = self.remote
        listener = self._listener
        self._peer = listener.peers.find(self.remote)
        self._machine = Machine(self._peer.options, listener.hostname)
        listener.enter(self, self._peer)
        if listener.proxies and listener.proxies.hold(self.remote):
            self._proxy = b""
            self._timer = self._loop.call_later(listener.options.proxy_time, self._transport.abort)
        else:
            self._timer = self._loop.call_later(self._next_look(), self._look)
            self._begin()

    def _begin(self) -> None:
        """It is known who the client is. Under implicit TLS the greeting waits for the handshake."""
        self._offer_anew()
        if self._listener.options.tls != "implicit":
            self._pump()
        elif self._listener.admit(self.remote, self._peer) is None:
            self._encrypt_from_now()
        else:
            self._over = True
            self._transport.abort()  # a handshake is too dear for saying no

    def _offer_anew(self) -> None:
        """What this session may use has changed, or the machine has forgotten it."""
        raise NotImplementedError

    def _told(self, hello: str) -> Context:
        """What is known of the client, for the contexts of its messages."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._proxy is not None:
            data = self._read_proxy(data)
            if not data:
                return
        if self._crypt is not None:
            data = self._decrypted(data)
            if self._over or (not data and not self._eof):
                return
        if self._listener.tap is not None:
            self._listener.tap.passed(self, "", self.remote, True, data)
        if self._early is not None and data:
            self._early.cancel()
            self._early = None
            self.end(replies.TALKS_EARLY)
            return
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
        if self._early is not None:
            self._early.cancel()
        if self._task is not None:
            self._task.cancel()
            self._task = None
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
                self._HANDLERS[type(event)](self, event)
                continue
            out = machine.take_output()
            if out:
                self._write(out)
            # Without output there is nothing it could have waited for the room of.
            if not out or self._unwritten or not machine.has_unread:
                break
        if not self._over:
            self._settle()

    def _write(self, out: bytes) -> None:
        """Replies go out, through TLS where that is up."""
        if self._listener.tap is not None:
            self._listener.tap.passed(self, "", self.remote, False, out)
        crypt = self._crypt
        if crypt is not None:
            if not crypt.done:
                return  # nothing can be said before the handshake is over
            crypt.send(out)
            out = crypt.take()
        self._transport.write(out)

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
        if self._crypt is not None:
            self._crypt.close()
            self._transport.write(self._crypt.take())
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

    # TLS, and who the client really is.

    def _encrypt_from_now(self) -> None:
        certificates = self._listener.certificates
        assert certificates is not None, "TLS is offered only with certificates"
        self._crypt = TlsLayer(certificates.context)

    def _decrypted(self, data: bytes) -> bytes:
        """The plain text of what came. A session whose TLS is broken is over."""
        crypt = self._crypt
        assert crypt is not None
        shaken = crypt.done
        try:
            text = crypt.received(data)
        except ssl.SSLError:
            self._listener.tls_failures += 1
            self._over = True
            self._transport.write(crypt.take())  # the alert that says why
            self._transport.close()
            return b""
        self._transport.write(crypt.take())
        if crypt.done and not shaken:
            self.tls, self.account = crypt.peer(), None
            self._machine.secured()
            self._offer_anew()
            if self._listener.options.tls == "implicit":
                self._pump()
        self._eof = self._eof or crypt.ended
        return text

    def _read_proxy(self, data: bytes) -> bytes:
        """What lies behind the PROXY header, once that is here."""
        assert self._proxy is not None
        self._proxy += data
        try:
            client = read_header(self._proxy)
        except ProxyError:
            # Nothing is said: what came may not even be a client of ours.
            self._over = True
            self._transport.abort()
            return b""
        if client is None:
            return b""
        data, self._proxy = self._proxy[client.used :], None
        self._timer.cancel()
        if client.address:
            self._speak_for(plain_address(client.address))
            self._machine = Machine(self._peer.options, self._listener.hostname)
        self._timer = self._loop.call_later(self._next_look(), self._look)
        self._begin()
        return data

    def _speak_for(self, address: str) -> None:
        """The other end is only the messenger of the client at this address."""
        before, peer = self.remote, self._peer
        self.remote, self._peer = address, self._listener.peers.find(address)
        self._listener.moved(before, peer, address, self._peer)

    # Time.

    def _next_look(self) -> float:
        options = self._peer.options
        return float(min(options.idle_time, options.message_time, options.session_time))

    def _look(self) -> None:
        """The timer fired: is the client too slow? Else look again when it could next be."""
        options, now = self._peer.options, self._loop.time()
        age = now - self._began
        if age >= options.session_time and (self._machine.at_rest or age >= 2 * options.session_time):
            self.end(replies.SESSION_TOO_LONG)
            return
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
