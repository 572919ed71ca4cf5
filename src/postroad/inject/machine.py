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

from postroad.inject import commands, replies
from postroad.inject.commands import BadCommand
from postroad.inject.events import (
    Auth,
    AuthResponse,
    Connect,
    Content,
    Data,
    Hello,
    Mail,
    Rcpt,
    Refusal,
    StartTls,
    XClient,
)
from postroad.inject.incoming import LineTooLong
from postroad.inject.offer import hello_reply
from postroad.inject.replies import encode
from postroad.inject.tables import GREETED, TABLE, State
from postroad.inject.trust import Trust
from postroad.message import Reply

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_KNOWN_ELSEWHERE = frozenset(["EXPN", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN", "BURL"])
# What a browser led astray says first. Its "commands" are somebody else's data: hang up before one of them is SMTP.
_NOT_SMTP = frozenset(["GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "PATCH", "DELETE"])
_BETWEEN_TRANSACTIONS = frozenset(["STARTTLS", "AUTH", "XCLIENT"])
_SENDER_OK, _RECIPIENT_OK = encode(replies.SENDER_OK), encode(replies.RECIPIENT_OK)


class Machine(Trust):
    """One session. Begins with the question `Connect`; is over when `closed`."""

    __slots__ = ()

    # Commands.

    def _read_command(self) -> bool:
        """One command line, if it is there. False: more octets are wanted."""
        if self._swallow_reply is not None:
            if not self._incoming.swallowed():
                return False
            reply, self._swallow_reply = self._swallow_reply, None
            self._refuse_misplaced(reply)
            return True
        if self.state is State.LOGIN:
            return self._read_response()
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
        offer = self.offer
        if (verb == "AUTH" and not offer.auth) or (verb == "XCLIENT" and not offer.xclient):
            return replies.NOT_IMPLEMENTED
        if verb == "STARTTLS" and not (offer.starttls or self.secure):
            return replies.NOT_IMPLEMENTED
        if self.state is State.START:
            return replies.EHLO_FIRST
        if self.state is State.CHUNKS:
            return replies.CHUNKS_OPEN
        if verb == "MAIL":
            return replies.MAIL_TWICE
        if self.state is State.READY:
            return replies.MAIL_FIRST
        if verb in _BETWEEN_TRANSACTIONS:
            return replies.TRANSACTION_OPEN
        return replies.LMTP_RCPT_FIRST if self.offer.lmtp else replies.RCPT_FIRST

    def _do_hello(self, argument: str) -> None:
        if self.offer.lmtp:
            raise BadCommand(replies.LMTP_WANTED)
        self._ask(Hello(commands.parse_hello(argument), True))

    def _do_helo(self, argument: str) -> None:
        if self.offer.lmtp:
            raise BadCommand(replies.LMTP_WANTED)
        self._ask(Hello(commands.parse_hello(argument), False))

    def _do_lhlo(self, argument: str) -> None:
        if not self.offer.lmtp:
            raise BadCommand(replies.NOT_IMPLEMENTED)
        self._ask(Hello(commands.parse_hello(argument), True))

    def _do_mail(self, argument: str) -> None:
        options = self.options
        if self.offer.gate is not None:
            self._refuse(self.offer.gate)
            return
        self._excused = True  # until this one is accepted
        if options.max_messages_per_session and self._messages >= options.max_messages_per_session:
            self.end(replies.TOO_MANY_MESSAGES)
            return
        envelope = commands.parse_mail(
            argument,
            extended=self.extended,
            smtputf8=options.smtputf8,
            requiretls=self.offer.requiretls,
            auth=self.offer.auth,
        )
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
        self._idle(replies.OK)

    def _do_noop(self, argument: str) -> None:
        self._idle(replies.OK)

    def _do_help(self, argument: str) -> None:
        self._idle(replies.HELP)

    def _do_vrfy(self, argument: str) -> None:
        if not argument.strip(" "):
            raise BadCommand(replies.ARGUMENT_WANTED)
        self._idle(replies.CANNOT_VERIFY)

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
        self._idling += 1
        if self._idling > options.max_idle_commands:
            self.end(replies.TOO_MUCH_IDLING)
            return
        self._out += hello_reply(self.hostname, self.extended, options.max_message_size, options.smtputf8, self.offer)

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
    "STARTTLS": Machine._do_starttls,
    "AUTH": Machine._do_auth,
    "XCLIENT": Machine._do_xclient,
    "LHLO": Machine._do_lhlo,
}

Machine._ANSWERED = {
    Connect: Machine._greet,
    Hello: Machine._greet_by_name,
    StartTls: Machine._shake,
    Auth: Machine._judge_login,
    AuthResponse: Machine._judge_login,
    XClient: Machine._believe,
    Mail: Machine._open,
    Rcpt: Machine._add,
    Data: Machine._begin,
    Content: Machine._conclude,
}
