"""The SMTP server's protocol machine: octets in, events out, replies into a buffer. It does no I/O and knows no clock.

    machine.receive(octets)
    while (event := machine.next_event()) is not None:
        machine.answer(...)          # at once, or later: until then next_event gives None
    transport.write(machine.take_output())

`answer(None)` gives the usual good reply, `answer(Reply(...))` that reply: 4xx and 5xx refuse, 421 ends the session.
Replies leave in the order of the commands, because nothing is read past a question that is still open (RFC 2920 3.2).
The steps are those of `tables.TABLE`, and no others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from postroad.config.schema import ListenerOptions
from postroad.inject import commands, replies
from postroad.inject.commands import BadCommand, Chunk
from postroad.inject.content import ChunkReader, DotReader, inspect
from postroad.inject.events import Connect, Content, Data, Envelope, Event, Hello, Mail, Rcpt, Refusal
from postroad.inject.incoming import Incoming, LineTooLong
from postroad.inject.replies import encode, hello_reply
from postroad.inject.tables import AT_REST, CHUNK_READ, CONTENT_READ, GREETED, READS_OCTETS, TABLE, UNDER_WAY, State
from postroad.message import Reply

OUTPUT_LIMIT = 1 << 13  # octets of replies after which no further command is read until they are taken

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_KNOWN_ELSEWHERE = frozenset(
    ["EXPN", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN", "AUTH", "STARTTLS", "BURL", "LHLO"]
)
# What a browser led astray says first. Its "commands" are somebody else's data: hang up before one of them is SMTP.
_NOT_SMTP = frozenset(["GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "PATCH", "DELETE"])
_SENDER_OK, _RECIPIENT_OK, _SEND_CONTENT = map(encode, (replies.SENDER_OK, replies.RECIPIENT_OK, replies.SEND_CONTENT))


class Machine:
    """One session. Begins with the question `Connect`; is over when `closed`."""

    __slots__ = (
        "_asked",
        "_errors",
        "_event",
        "_excused",
        "_incoming",
        "_messages",
        "_out",
        "_reader",
        "_swallow_reply",
        "envelope",
        "extended",
        "hello",
        "hostname",
        "options",
        "parted",
        "state",
    )

    def __init__(self, options: ListenerOptions, hostname: str) -> None:
        self.options = options
        self.hostname = hostname
        self.state = State.GREETING
        self.envelope: Envelope | None = None
        self.hello = ""  # what the client calls itself
        self.extended = False  # by EHLO
        # Closed by the client's QUIT, or before it could say anything: nothing of its is left unread.
        self.parted = False
        self._incoming = Incoming()
        self._out = b""
        self._event: Event | None = Connect()  # to be handed out next
        self._asked: Event | None = self._event  # waits for its answer
        self._reader: DotReader | ChunkReader | None = None
        self._swallow_reply: Reply | None = None  # a BDAT is refused: said when its octets have gone by
        self._errors = 0
        self._messages = 0
        # MAIL, RCPT or the content was refused. A pipelining client has sent what should follow before it hears of
        # that, so a command out of place is not counted as an error.
        self._excused = False

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
        if self.state is not State.CLOSED:
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
        _ANSWERED[type(asked)](self, asked, reply)
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

    # Commands.

    def _read_command(self) -> bool:
        """One command line, if it is there. False: more octets are wanted."""
        if self._swallow_reply is not None:
            if not self._incoming.swallowed():
                return False
            reply, self._swallow_reply = self._swallow_reply, None
            self._refuse_misplaced(reply)
            return True
        try:
            line = self._incoming.line(self.options.max_command_length)
            if line is None:
                return False
            text = line.decode()
            if not text.isprintable() and _CONTROL.search(text):
                raise BadCommand(replies.BAD_CHARACTERS)
            verb, _, argument = text.rstrip(" ").partition(" ")
            self._command(verb.upper(), argument)
        except LineTooLong:
            self._bad(replies.LINE_TOO_LONG)
        except UnicodeDecodeError:
            self._bad(replies.BAD_CHARACTERS)
        except BadCommand as refused:
            self._bad(refused.reply)
        return True

    def _command(self, verb: str, argument: str) -> None:
        step = _COMMANDS.get(verb)
        if step is None:
            if verb in _NOT_SMTP:
                self.end(replies.NOT_SMTP)
            else:
                self._bad(replies.NOT_IMPLEMENTED if verb in _KNOWN_ELSEWHERE else replies.UNKNOWN_COMMAND)
        elif verb in TABLE[self.state]:
            step(self, argument)
        elif verb == "BDAT":
            # Its octets follow, whatever we think of it (RFC 3030 2).
            chunk = self._parse_bdat(argument)
            if chunk is not None:
                self._swallow_chunk(chunk.octets, self._misplaced(verb))
        else:
            self._refuse_misplaced(self._misplaced(verb))

    def _misplaced(self, verb: str) -> Reply:
        """What to say to a command that may not come in this state."""
        if self.state is State.START:
            return replies.EHLO_FIRST
        if self.state is State.CHUNKS:
            return replies.CHUNKS_OPEN
        if verb == "MAIL":
            return replies.MAIL_TWICE
        return replies.MAIL_FIRST if self.state is State.READY else replies.RCPT_FIRST

    def _refuse_misplaced(self, reply: Reply) -> None:
        if self._excused:
            self._say(reply)
        else:
            self._bad(reply)

    def _do_hello(self, argument: str) -> None:
        self._ask(Hello(commands.parse_hello(argument), True))

    def _do_helo(self, argument: str) -> None:
        self._ask(Hello(commands.parse_hello(argument), False))

    def _do_mail(self, argument: str) -> None:
        options = self.options
        self._excused = True  # until this one is accepted
        if options.max_messages_per_session and self._messages >= options.max_messages_per_session:
            self.end(replies.TOO_MANY_MESSAGES)
            return
        envelope = commands.parse_mail(argument, extended=self.extended, smtputf8=options.smtputf8)
        if envelope.size > options.max_message_size:
            self._event = Refusal(envelope, replies.TOO_BIG)
            self._refuse(replies.TOO_BIG)
        else:
            self._ask(Mail(envelope))

    def _do_rcpt(self, argument: str) -> None:
        envelope = self._open_envelope()
        excused, self._excused = self._excused, True
        recipient = commands.parse_rcpt(
            argument, extended=self.extended, smtputf8=envelope.smtputf8, hostname=self.hostname
        )
        if len(envelope.recipients) >= self.options.max_recipients:
            self._say(replies.TOO_MANY_RECIPIENTS)
        else:
            self._excused = excused
            self._ask(Rcpt(envelope, recipient))

    def _do_data(self, argument: str) -> None:
        _no_argument(argument)
        self._ask(Data(self._open_envelope()))

    def _do_bdat(self, argument: str) -> None:
        chunk = self._parse_bdat(argument)
        if chunk is None:
            return
        if self.state is State.RCPT:
            self._ask(Data(self._open_envelope(), chunk.octets, chunk.last))
        else:
            self._read_chunk(chunk.octets, chunk.last)

    def _do_rset(self, argument: str) -> None:
        _no_argument(argument)
        self._reset(TABLE[self.state]["RSET"])
        self._excused = False
        self._say(replies.OK)

    def _do_noop(self, argument: str) -> None:
        self._say(replies.OK)

    def _do_help(self, argument: str) -> None:
        self._say(replies.HELP)

    def _do_vrfy(self, argument: str) -> None:
        if not argument.strip(" "):
            raise BadCommand(replies.ARGUMENT_WANTED)
        self._say(replies.CANNOT_VERIFY)

    def _do_quit(self, argument: str) -> None:
        _no_argument(argument)
        self._say(replies.BYE)
        self.parted = True
        self._close()

    # Answers.

    def _greet(self, asked: Connect, reply: Reply | None) -> None:
        if reply is None or reply.code < 400:
            self._say(reply or Reply(220, f"{self.hostname} {self.options.banner}"))
            self.state = TABLE[self.state][GREETED]
        else:
            # RFC 5321 3.1 would have the session linger for a QUIT; who may not come in has nothing to say here.
            self._say(reply)
            self.parted = True
            self._close()

    def _greet_by_name(self, asked: Hello, reply: Reply | None) -> None:
        if reply is not None and reply.code >= 400:
            self._say(reply)
            return
        self.hello, self.extended = asked
        self._reset(TABLE[self.state]["EHLO"])
        self._excused = False
        options = self.options
        self._out += hello_reply(self.hostname, self.extended, options.max_message_size, options.smtputf8)

    def _open(self, asked: Mail, reply: Reply | None) -> None:
        if reply is None or reply.code < 400:
            self._out += _SENDER_OK if reply is None else encode(reply)
            self.envelope = asked.envelope
            self.state = TABLE[self.state]["MAIL"]
            self._excused = False
        else:
            self._say(reply)

    def _add(self, asked: Rcpt, reply: Reply | None) -> None:
        if reply is None or reply.code < 400:
            self._out += _RECIPIENT_OK if reply is None else encode(reply)
            asked.envelope.recipients.append(asked.recipient)
            self.state = TABLE[self.state]["RCPT"]
        else:
            self._refuse(reply)
            self._excused = True

    def _begin(self, asked: Data, reply: Reply | None) -> None:
        if reply is not None and reply.code >= 400:
            # Were the transaction left open, a later BDAT could begin the message in its middle.
            self._reset(TABLE[self.state]["RSET"])
            self._excused = True
            # Before a 421 nothing is waited for.
            self._swallow_chunk(asked.chunk if asked.chunk > 0 and reply.code != 421 else 0, reply)
        elif asked.chunk >= 0:
            self._read_chunk(asked.chunk, asked.last)
        else:
            self._out += _SEND_CONTENT
            self._reader = DotReader(self.options.max_message_size)
            self.state = TABLE[self.state]["DATA"]

    def _conclude(self, asked: Content, reply: Reply | None) -> None:
        self._reset(TABLE[self.state][CONTENT_READ])
        if reply is None or reply.code < 400:
            self._errors = 0
            self._say(reply or replies.OK)
        else:
            self._refuse(reply)

    # Content.

    def _read_content(self) -> bool:
        """What is here of the content. False: more octets are wanted."""
        reader = self._reader
        assert reader is not None
        self._incoming.pour(reader)
        if not reader.finished:
            return False
        self._content_read(reader)
        return True

    def _content_read(self, reader: DotReader | ChunkReader) -> None:
        """The content, or one chunk of it, is all here."""
        if isinstance(reader, ChunkReader) and reader.fault is None and not reader.last:
            self._say(Reply(250, f"2.0.0 {reader.octets} octets"))
            self.state = TABLE[self.state][CHUNK_READ]
        else:
            self._judge(reader)

    def _judge(self, reader: DotReader | ChunkReader) -> None:
        """The content has been read to its end, or is beyond hope before it: hand it on or refuse it."""
        envelope = self._open_envelope()
        self._messages += 1
        self._reader = None
        result = reader.result()
        if not isinstance(result, Reply):
            content, dotted = result
            body_start = inspect(content, self.options, self.hostname)
            if not isinstance(body_start, Reply):
                self._ask(Content(envelope, content, dotted, body_start))
                return
            result = body_start
        self._event = Refusal(envelope, result)
        self._reset(TABLE[self.state][CONTENT_READ])
        self._excused = True
        self._refuse(result)

    def _parse_bdat(self, argument: str) -> Chunk | None:
        try:
            return commands.parse_bdat(argument)
        except BadCommand as refused:
            # How many octets follow is unknown, and to take them for commands would be to obey a message.
            self.end(refused.reply)
            return None

    def _read_chunk(self, octets: int, last: bool) -> None:
        if not isinstance(self._reader, ChunkReader):
            self._reader = ChunkReader(self.options.max_message_size)
        self._reader.expect(octets, last)
        self.state = TABLE[self.state]["BDAT"]
        if not octets:
            self._content_read(self._reader)

    def _swallow_chunk(self, octets: int, reply: Reply) -> None:
        """A BDAT is refused: say so when its octets have gone by."""
        if octets:
            self._incoming.swallow(octets)
            self._swallow_reply = reply
        else:
            self._refuse_misplaced(reply)

    # The small things.

    def _ask(self, event: Event) -> None:
        self._asked = self._event = event

    def _say(self, reply: Reply) -> None:
        self._out += encode(reply)

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


def _no_argument(argument: str) -> None:
    if argument:
        raise BadCommand(replies.NO_ARGUMENT)


_COMMANDS: dict[str, Callable[[Machine, str], None]] = {
    "EHLO": Machine._do_hello,
    "HELO": Machine._do_helo,
    "MAIL": Machine._do_mail,
    "RCPT": Machine._do_rcpt,
    "DATA": Machine._do_data,
    "BDAT": Machine._do_bdat,
    "RSET": Machine._do_rset,
    "NOOP": Machine._do_noop,
    "VRFY": Machine._do_vrfy,
    "HELP": Machine._do_help,
    "QUIT": Machine._do_quit,
}

_ANSWERED: dict[type, Callable[[Machine, Any, Reply | None], None]] = {
    Connect: Machine._greet,
    Hello: Machine._greet_by_name,
    Mail: Machine._open,
    Rcpt: Machine._add,
    Data: Machine._begin,
    Content: Machine._conclude,
}
