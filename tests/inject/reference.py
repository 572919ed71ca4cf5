"""An SMTP server that is slow and easy to see through: one buffer, looked at from its first octet each time. The
machine is held against it (test_fuzz_reference.py). Written from RFC 5321, 3030, 3207 and 4954, and from what the
options say of our patience, apart from the machine; it shares only the texts of replies and the reading of arguments.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import NamedTuple

from postroad.config.schema import ListenerOptions
from postroad.inject import BadCommand, Envelope, commands, replies
from postroad.inject.offer import offer_for
from postroad.inject.replies import encode
from postroad.inject.xclient import parse_xclient
from postroad.message import Reply
from tests.inject.kit import HOSTNAME

AUTH_LINE = 12_288  # octets of a line of an AUTH exchange
SLACK = 1024  # octets by which a BDAT message may be too long before it is given up in the midst of it
ELSEWHERE = ("EXPN", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN", "BURL")
WEB = ("GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "PATCH", "DELETE")
VERBS = (
    *("EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "HELP", "QUIT"),
    *("STARTTLS", "AUTH", "XCLIENT"),
)


class Letter(NamedTuple):
    sender: str
    recipients: list[str]
    content: bytes


class Judge:
    """What is said to those who are well spoken; None: yes. The same for both sides, and without memory."""

    def sender(self, address: str) -> Reply | None:
        return {"no": Reply(450, "4.7.1 Not you"), "gone": Reply(421, "4.7.1 Go")}.get(address.partition("@")[0])

    def recipient(self, address: str) -> Reply | None:
        return {"no": Reply(550, "5.7.1 Not there"), "gone": Reply(421, "4.7.1 Go")}.get(address.partition("@")[0])

    def data(self, sender: str) -> Reply | None:
        return {"nodata": Reply(554, "5.7.1 No"), "gonedata": Reply(421, "4.7.1 Go")}.get(sender.partition("@")[0])

    def content(self, content: bytes) -> Reply | None:
        return Reply(550, "5.7.1 No spam") if b"spam" in content else None

    def login(self, mechanism: str, said: list[bytes | None]) -> Reply | None:
        """said: the initial response (None: there was none), then each line. 334: goes on."""
        answers = [one for one in said if one is not None]
        wanted = {"PLAIN": [b"\0user\0right"], "LOGIN": [b"user", b"right"]}[mechanism]
        if len(answers) < len(wanted):
            return Reply(334, f"VXN{len(answers)}")
        return None if answers == wanted else replies.AUTH_FAILED

    def speaks_for(self, address: str | None) -> Reply | None:
        return Reply(550, "5.7.0 Not for that one") if address == "203.0.113.1" else None


class Server:
    """`out`: all replies; `letters`: what was taken or refused by the judge; `refused`: messages refused before that.
    secure: TLS is up."""

    def __init__(self, options: ListenerOptions, judge: Judge) -> None:
        self.options = options
        self.judge = judge
        self.out = b""
        self.letters: list[Letter] = []
        self.refused: list[Reply] = []
        self.closed = self.handshake = self.secure = False
        self.unread = b""
        self.errors = self.idle = self.messages = 0
        self.begin()
        self.say(Reply(220, f"{HOSTNAME} {options.banner}"))

    def begin(self) -> None:
        """As after the greeting: nobody is known."""
        self.greeted = self.extended = self.excused = self.logged_in = False
        self.drop()
        self.login: tuple[str, list[bytes | None]] | None = None

    def drop(self) -> None:
        """There is no transaction."""
        self.envelope: Envelope | None = None
        self.reads_data = False
        self.chunks: list[bytes] | None = None  # of a message by BDAT
        self.chunk: tuple[int, bool] | None = None  # that is arriving: its octets, is it the last
        self.unwanted: tuple[int, Reply] | None = None  # a chunk that belongs to nothing

    # What comes.

    def receive(self, octets: bytes) -> None:
        if self.handshake and octets:
            self.close()
        if not self.closed:
            self.unread += octets
            while not self.closed and self.unread and self.step():
                pass

    def shaken(self) -> None:
        """The client's side of the handshake came instead of plain text."""
        if self.handshake:
            self.handshake, self.secure = False, True
            self.begin()

    def step(self) -> bool:
        """Read one thing. False: it is not all there."""
        if self.reads_data:
            whole = b"\r\n" + self.unread
            end = whole.find(b"\r\n.\r\n")
            if end < 0:
                return False
            self.unread = whole[end + 5 :]
            lines = whole[2 : end + 2].split(b"\r\n")
            self.arrived(
                b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines), whole[2 : end + 2]
            )
            return True
        if self.unwanted is not None:
            size, reply = self.unwanted
            if len(self.unread) < size:
                return False
            self.unread, self.unwanted = self.unread[size:], None
            self.out_of_place(reply)
            return True
        if self.chunk is not None:
            return self.read_chunk(*self.chunk)
        end = self.unread.find(b"\r\n")
        if end < 0:
            return False
        line, self.unread = self.unread[:end], self.unread[end + 2 :]
        if self.login is not None:
            self.response(line)
        else:
            try:
                self.command(line)
            except BadCommand as error:
                self.bad(error.reply)
        return True

    # What is said.

    def say(self, reply: Reply) -> None:
        self.out += encode(reply)
        if reply.code == 421:
            self.close()

    def close(self) -> None:
        self.closed, self.unread = True, b""

    def bad(self, reply: Reply) -> None:
        self.errors += 1
        self.say(replies.TOO_MANY_ERRORS if self.errors >= self.options.max_bad_commands else reply)

    def refuse(self, reply: Reply) -> None:
        self.say(reply)
        if reply.code >= 500:
            self.errors += 1
            if self.errors >= self.options.max_bad_commands:
                self.say(replies.TOO_MANY_ERRORS)

    def out_of_place(self, reply: Reply) -> None:
        if self.excused:
            self.say(reply)
        else:
            self.bad(reply)

    def idling(self, reply: Reply) -> None:
        self.idle += 1
        self.say(replies.TOO_MUCH_IDLING if self.idle > self.options.max_idle_commands else reply)

    # Commands.

    def command(self, line: bytes) -> None:
        if len(line) + 2 > self.options.max_command_length:
            raise BadCommand(replies.LINE_TOO_LONG)
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise BadCommand(replies.BAD_CHARACTERS) from None
        if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
            raise BadCommand(replies.BAD_CHARACTERS)
        verb, _, argument = text.rstrip(" ").partition(" ")
        verb = verb.upper()
        if verb in WEB:
            self.say(replies.NOT_SMTP)
        elif verb not in VERBS:
            raise BadCommand(replies.NOT_IMPLEMENTED if verb in ELSEWHERE else replies.UNKNOWN_COMMAND)
        elif verb == "BDAT":
            self.bdat(argument)
        elif (fault := self.misplaced(verb)) is not None:
            self.out_of_place(fault)
        else:
            steps: dict[str, Callable[[str], None]] = {
                **dict.fromkeys(("EHLO", "HELO"), lambda argument: self.hello(argument, verb == "EHLO")),
                "MAIL": self.mail,
                "RCPT": self.rcpt,
                "DATA": self.data,
                "VRFY": self.vrfy,
                "QUIT": self.quit,
                "RSET": self.rset,
                "STARTTLS": self.starttls,
                "AUTH": self.auth,
                "XCLIENT": self.xclient,
                "NOOP": lambda argument: self.idling(replies.OK),
                "HELP": lambda argument: self.idling(replies.HELP),
            }
            if verb == "LHLO":
                raise BadCommand(replies.NOT_IMPLEMENTED)
            steps[verb](argument)

    def misplaced(self, verb: str) -> Reply | None:
        """Why this command can't be now."""
        if verb in ("EHLO", "HELO", "LHLO", "RSET", "QUIT", "NOOP", "VRFY", "HELP"):
            return None
        if self.chunks is not None:
            return None if verb == "BDAT" else replies.CHUNKS_OPEN
        if not self.greeted:
            return None if verb == "XCLIENT" else replies.EHLO_FIRST
        if self.envelope is None:
            return replies.MAIL_FIRST if verb in ("RCPT", "DATA", "BDAT") else None
        if verb == "MAIL":
            return replies.MAIL_TWICE
        if verb in ("STARTTLS", "AUTH", "XCLIENT"):
            return replies.TRANSACTION_OPEN
        return replies.RCPT_FIRST if verb != "RCPT" and not self.envelope.recipients else None

    def hello(self, argument: str, extended: bool) -> None:
        commands.parse_hello(argument)
        self.drop()
        self.greeted, self.extended, self.excused = True, extended, False
        offer = offer_for(self.options, self.secure, self.logged_in, True)
        lines = [HOSTNAME]
        if extended:
            lines += ["PIPELINING", f"SIZE {self.options.max_message_size}", "8BITMIME", "SMTPUTF8"]
            lines += ["ENHANCEDSTATUSCODES", "CHUNKING", "DSN"]
            lines += ["REQUIRETLS"] if self.secure else ["STARTTLS"]
            lines += ["AUTH " + " ".join(offer.mechanisms), "XCLIENT " + " ".join(replies.ATTRIBUTES)]
        self.idling(Reply(250, " / ".join(lines)))

    def mail(self, argument: str) -> None:
        self.excused = True
        if self.messages >= self.options.max_messages_per_session > 0:
            self.say(replies.TOO_MANY_MESSAGES)
            return
        envelope = commands.parse_mail(
            argument, extended=self.extended, smtputf8=True, requiretls=self.secure, auth=True
        )
        if envelope.size > self.options.max_message_size:
            self.refused.append(replies.TOO_BIG)
            self.refuse(replies.TOO_BIG)
            return
        reply = self.judge.sender(envelope.sender)
        self.say(reply or replies.SENDER_OK)
        if reply is None:
            self.envelope, self.excused = envelope, False

    def rcpt(self, argument: str) -> None:
        assert self.envelope is not None
        excused, self.excused = self.excused, True
        recipient = commands.parse_rcpt(
            argument, extended=self.extended, smtputf8=self.envelope.smtputf8, hostname=HOSTNAME
        )
        if len(self.envelope.recipients) >= self.options.max_recipients:
            self.say(replies.TOO_MANY_RECIPIENTS)
            return
        reply = self.judge.recipient(recipient.address)
        if reply is None:
            self.excused = excused
            self.envelope.recipients.append(recipient)
            self.say(replies.RECIPIENT_OK)
        else:
            self.refuse(reply)

    def data(self, argument: str) -> None:
        assert self.envelope is not None
        if argument:
            raise BadCommand(replies.NO_ARGUMENT)
        if not self.content_refused(0):
            self.say(replies.SEND_CONTENT)
            self.reads_data = True

    def content_refused(self, octets: int) -> bool:
        """octets: that follow whatever we say."""
        assert self.envelope is not None
        reply = self.judge.data(self.envelope.sender)
        if reply is not None:
            self.drop()
            self.excused = True
            if octets and reply.code != 421:
                self.unwanted = (octets, reply)
            else:
                self.say(reply)
        return reply is not None

    def bdat(self, argument: str) -> None:
        try:
            octets, last = commands.parse_bdat(argument)
        except BadCommand as error:
            # Where the next command begins can't be known.
            self.say(error.reply)
            self.close()
            return
        fault = self.misplaced("BDAT")
        if fault is not None and octets:
            self.unwanted = (octets, fault)
        elif fault is not None:
            self.out_of_place(fault)
        elif self.chunks is not None or not self.content_refused(octets):
            self.chunks = self.chunks or []
            if octets:
                self.chunk = (octets, last)
            else:
                self.read_chunk(octets, last)

    def read_chunk(self, octets: int, last: bool) -> bool:
        if len(self.unread) < octets:
            return False
        assert self.chunks is not None
        self.chunks.append(self.unread[:octets])
        self.unread, self.chunk = self.unread[octets:], None
        whole = b"".join(self.chunks)
        # A CR at the end may still find its LF in the next chunk.
        hopeless = (
            bare(whole if last else whole.removesuffix(b"\r")) or len(whole) > self.options.max_message_size + SLACK
        )
        if last or hopeless:
            self.arrived(whole + (b"\r\n" if whole and not whole.endswith(b"\r\n") else b""), whole)
        else:
            self.say(Reply(250, f"2.0.0 {octets} octets"))
        return True

    def arrived(self, content: bytes, raw: bytes) -> None:
        """A message is all here, or can't be saved."""
        assert self.envelope is not None
        self.messages += 1
        letter = Letter(self.envelope.sender, [r.address for r in self.envelope.recipients], content)
        self.drop()
        fault = self.fault(content, raw)
        if fault is not None:
            self.refused.append(fault)
            self.excused = True
            self.refuse(fault)
            return
        self.letters.append(letter)
        reply = self.judge.content(content)
        if reply is not None:
            self.refuse(reply)
        else:
            self.errors = self.idle = 0
            self.say(replies.OK)

    def fault(self, content: bytes, raw: bytes) -> Reply | None:
        options = self.options
        head, parted, _ = (b"\r\n" + content).partition(b"\r\n\r\n")
        head = head[2:]
        if bare(raw):
            return replies.BARE_LINE_END
        if len(content) > options.max_message_size:
            return replies.TOO_BIG
        if b"\0" in content:
            return replies.NUL
        if any(len(line) > options.max_line_length for line in content.split(b"\r\n")):
            return replies.LINE_OF_CONTENT_TOO_LONG
        if len(head) + (4 if parted and head else 2 if parted else 0) > options.max_headers_size:
            return replies.HEADER_TOO_BIG
        received = [line for line in head.split(b"\r\n") if line.partition(b":")[0].rstrip().lower() == b"received"]
        return replies.TOO_MANY_HOPS if len(received) > options.max_hops else None

    def rset(self, argument: str) -> None:
        if argument:
            raise BadCommand(replies.NO_ARGUMENT)
        self.drop()
        self.excused = False
        self.idling(replies.OK)

    def vrfy(self, argument: str) -> None:
        if not argument.strip(" "):
            raise BadCommand(replies.ARGUMENT_WANTED)
        self.idling(replies.CANNOT_VERIFY)

    def quit(self, argument: str) -> None:
        if argument:
            raise BadCommand(replies.NO_ARGUMENT)
        self.say(replies.BYE)
        self.close()

    # Trust.

    def starttls(self, argument: str) -> None:
        if argument:
            raise BadCommand(replies.NO_ARGUMENT)
        if self.secure:
            raise BadCommand(replies.TLS_TWICE)
        if self.unread:
            self.say(replies.BEHIND_STARTTLS)
            self.close()
        else:
            self.say(replies.START_TLS)
            self.handshake = True

    def auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if self.logged_in:
            raise BadCommand(replies.AUTH_TWICE)
        if not self.extended:
            raise BadCommand(replies.EHLO_FIRST)
        if not mechanism:
            raise BadCommand(replies.AUTH_SYNTAX)
        if mechanism.upper() not in self.options.auth_mechanisms:
            raise BadCommand(replies.UNKNOWN_MECHANISM)
        said = b"" if initial == "=" else decoded(initial.encode("latin-1", "replace")) if initial else None
        self.judged(mechanism.upper(), [said])

    def response(self, line: bytes) -> None:
        assert self.login is not None
        mechanism, said = self.login
        self.login = None
        try:
            if len(line) + 2 > max(AUTH_LINE, self.options.max_command_length):
                raise BadCommand(replies.LINE_TOO_LONG)
            if line == b"*":
                raise BadCommand(replies.AUTH_CANCELLED)
            self.judged(mechanism, [*said, decoded(line)])
        except BadCommand as error:
            self.bad(error.reply)

    def judged(self, mechanism: str, said: list[bytes | None]) -> None:
        reply = self.judge.login(mechanism, said)
        if reply is None:
            self.logged_in = True
            self.say(replies.LOGGED_IN)
        elif reply.code == 334:
            self.login = (mechanism, said)
            self.say(reply)
        else:
            self.refuse(reply)

    def xclient(self, argument: str) -> None:
        reply = self.judge.speaks_for(parse_xclient(argument).addr)
        if reply is not None:
            self.say(reply)
            return
        self.begin()
        self.say(Reply(220, f"{HOSTNAME} {self.options.banner}"))


def bare(raw: bytes) -> bool:
    """Does a CR or an LF stand alone?"""
    rest = raw.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


def decoded(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise BadCommand(replies.BAD_BASE64) from None
