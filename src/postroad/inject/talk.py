"""What every part of the SMTP server's protocol machine stands on: octets in, questions out, replies into a buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from postroad.config.schema import ListenerOptions
from postroad.inject import replies
from postroad.inject.content import ChunkReader, DotReader
from postroad.inject.events import Connect, Envelope, Event
from postroad.inject.incoming import Incoming
from postroad.inject.offer import PLAIN
from postroad.inject.replies import encode
from postroad.inject.tables import AT_REST, READS_OCTETS, UNDER_WAY, State
from postroad.message import Reply

OUTPUT_LIMIT = 1 << 13  # octets of replies after which no further command is read until they are taken


class Talk:
    """One session's buffers, its open question and our patience with it. What is read and how is left to subclasses."""

    __slots__ = (
        "_asked",
        "_errors",
        "_event",
        "_excused",
        "_idling",
        "_incoming",
        "_messages",
        "_out",
        "_reader",
        "_swallow_reply",
        "envelope",
        "extended",
        "hello",
        "hostname",
        "offer",
        "options",
        "parted",
        "secure",
        "state",
        "user",
    )

    def __init__(self, options: ListenerOptions, hostname: str) -> None:
        self.options = options
        self.hostname = hostname
        self.state = State.GREETING
        self.envelope: Envelope | None = None
        self.hello = ""  # what the client calls itself
        self.extended = False  # by EHLO
        self.offer = PLAIN  # what this session may use now; the shell sets it
        self.secure = False  # TLS is up
        self.user = ""  # whom AUTH showed the client to be; the shell sets it
        # Closed by the client's QUIT, or before it could say anything: nothing of its is left unread.
        self.parted = False
        self._incoming = Incoming()
        self._out = b""
        self._event: Event | None = Connect()  # to be handed out next
        self._asked: Event | None = self._event  # waits for its answer
        self._reader: DotReader | ChunkReader | None = None
        self._swallow_reply: Reply | None = None  # a BDAT is refused: said when its octets have gone by
        self._errors = 0
        self._idling = 0  # commands that lead nowhere since the last accepted message
        self._messages = 0
        # MAIL, RCPT or the content was refused. A pipelining client has sent what should follow before it hears of
        # that, so a command out of place is not counted as an error.
        self._excused = False

    # How each question's answer is taken; the machine as a whole fills it.
    _ANSWERED: ClassVar[dict[type, Callable[[Any, Any, Reply | None], None]]] = {}

    # What the shell may ask.

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    @property
    def waiting(self) -> bool:
        """A question is open."""
        return self._asked is not None

    @property
    def at_rest(self) -> bool:
        """No transaction is open and no question either: the session can end without loss."""
        return self.state in AT_REST and self._asked is None

    @property
    def content_under_way(self) -> bool:
        """Some of a message is here, or its octets are being thrown away, and more is to come."""
        return self.state in UNDER_WAY or self._swallow_reply is not None

    @property
    def has_unread(self) -> bool:
        return self._incoming.data != b""

    @property
    def unread(self) -> int:
        """Octets received and not yet looked at."""
        return len(self._incoming)

    @property
    def held(self) -> int:
        """Octets of content in memory."""
        return self._reader.held if self._reader is not None else 0

    # What the shell does.

    def receive(self, data: bytes) -> None:
        """Octets came in. All that is not used up stays here: a caller bounds it by not reading on while `waiting`."""
        if self.state is State.HANDSHAKE:
            self._close()  # plain text where TLS should be
        elif self.state is not State.CLOSED:
            self._incoming.receive(data)

    def next_event(self) -> Event | None:
        """The next thing to know or to answer; None when octets, an answer or room for replies is wanted first."""
        while self._event is None:
            if self._asked is not None or not self._incoming.data or len(self._out) >= OUTPUT_LIMIT:
                return None
            if not (self._read_content() if self.state in READS_OCTETS else self._read_command()):
                return None
        event, self._event = self._event, None
        return event

    def answer(self, reply: Reply | None = None) -> None:
        """Answer the open question. Ignored once the session is closed; else RuntimeError if there is no question."""
        asked = self._asked
        if asked is None:
            if self.state is State.CLOSED:
                return
            raise RuntimeError("nothing was asked")
        self._asked = None
        self._ANSWERED[type(asked)](self, asked, reply)
        if reply is not None and reply.code == 421:
            self._close()

    def take_output(self) -> bytes:
        """The replies written since the last call."""
        out, self._out = self._out, b""
        return out

    def shed(self, reply: Reply) -> None:
        """Throw away the content that is arriving and refuse it with this reply at its end."""
        if self._reader is not None:
            self._reader.shed(reply)

    def end(self, reply: Reply) -> None:
        """Say this and be closed, whatever was going on. A transaction not yet accepted is gone."""
        if self.state is not State.CLOSED:
            self._say(reply)
            self._close()

    # For the parts that read.

    def _read_content(self) -> bool:
        raise NotImplementedError

    def _read_command(self) -> bool:
        raise NotImplementedError

    def _ask(self, event: Event) -> None:
        self._asked = self._event = event

    def _say(self, reply: Reply) -> None:
        self._out += encode(reply)

    def _idle(self, reply: Reply) -> None:
        """Answer what brings no message nearer; nobody needs much of that."""
        self._idling += 1
        if self._idling > self.options.max_idle_commands:
            self.end(replies.TOO_MUCH_IDLING)
        else:
            self._say(reply)

    def _refuse(self, reply: Reply) -> None:
        """Refuse what is well said but not wanted. The client hears the true reason; after many, also good-bye."""
        self._say(reply)
        if reply.code >= 500:
            self._errors += 1
            if self._errors >= self.options.max_bad_commands:
                self.end(replies.TOO_MANY_ERRORS)

    def _bad(self, reply: Reply) -> None:
        """Refuse what is not SMTP, and lose patience in the end."""
        self._errors += 1
        if self._errors >= self.options.max_bad_commands:
            self.end(replies.TOO_MANY_ERRORS)
        else:
            self._say(reply)

    def _open_envelope(self) -> Envelope:
        assert self.envelope is not None, "the table lets no such command through without a sender"
        return self.envelope

    def _reset(self, state: State) -> None:
        """Forget the transaction."""
        self.envelope = None
        self._reader = None
        self.state = state

    def _close(self) -> None:
        self._reset(State.CLOSED)
        self._incoming.clear()
        self._asked = None
        self._swallow_reply = None

    def _refuse_misplaced(self, reply: Reply) -> None:
        if self._excused:
            self._say(reply)
        else:
            self._bad(reply)
