"""The SMTP and LMTP client as a table (RFC 5321, 2920, 3207, 4954, 2033): which reply, in which step, leads
where. No sockets or clock.

The shell feeds it what the peer says (`receive`), tells it when the peer is gone (`lost`) or silent (`timed_out`), and
after each call writes `output`, looks at `result` (a message is done) and at `step` (HANDSHAKE: begin TLS, then call
`encrypted` or `not_encrypted`; READY: give it the next message; CLOSED: the session is over, and `failure` says why if
it never became READY).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from postroad.deliver.envelope import BadEnvelope, Capabilities, NeedsSmtputf8, commands, parse_capabilities
from postroad.deliver.login import Exchange, LoginError
from postroad.deliver.reply import ReplyError, ReplyReader
from postroad.deliver.steps import AWAITED, SMTP, STAGES, Again, Demand, Manner, Result, Step
from postroad.deliver.unfit import insecure, too_large, unwritable
from postroad.deliver.wireform import END, wire_form
from postroad.message import REQUIRE_TLS, Body, Message, Reply, Stage, Verdict

_SESSION = (Step.BANNER, Step.EHLO, Step.HELO, Step.STARTTLS, Step.HANDSHAKE, Step.AUTH)
_DRAINING = (Step.SKIP, Step.DRAIN, Step.EMPTY)

_GROUP = (Step.MAIL, Step.RCPT, Step.DATA)
_RSET_GROUP = (Step.RSET, *_GROUP)
_RSET = b"RSET\r\n"
_DATA = b"DATA\r\n"
_QUIT = b"QUIT\r\n"
# Octets of a command line (RFC 5321 4.5.3.1.4); a longer initial response waits for a challenge (RFC 4954 4).
_MAX_AUTH = 510
_STARTTLS = b"STARTTLS\r\n"


class Machine:
    """One session with one host. hello: our name, for EHLO. manner: LMTP, login.
    refused_tls: the host should have offered STARTTLS and did
    not, or refused it."""

    __slots__ = (
        "_at",
        "_body",
        "_commands",
        "_demand",
        "_drained",
        "_encrypted",
        "_exchange",
        "_hello",
        "_initial",
        "_manner",
        "_needs_rset",
        "_reader",
        "_sent",
        "_steps",
        "_unsent",
        "failure",
        "offered",
        "output",
        "refused_tls",
        "result",
        "served",
        "step",
        "verified",
    )
    _table: ClassVar[tuple[Row, ...]]

    def __init__(self, hello: str, demand: Demand = Demand.NO_TLS, manner: Manner = SMTP) -> None:
        self._hello = hello
        self._manner = manner
        self._encrypted = False
        self._exchange: Exchange | None = None  # of the login
        self._initial: bytes | None = None  # of it, when it is too long for the AUTH line
        self._demand = demand
        self.refused_tls = False
        self.verified = False
        self._reader = ReplyReader()
        self.step = Step.BANNER
        self.output: list[bytes] = []
        self.result: Result | None = None
        self.failure: Result | None = None
        self.offered = Capabilities()
        self.served = 0  # messages that got a result here
        self._body: Body | None = None
        # The commands of the message under way: steps[i] is what commands[i] awaits; the first `sent` are on the wire.
        self._steps: tuple[Step, ...] = ()
        self._commands: tuple[bytes, ...] = ()
        self._at = 0
        self._sent = 0
        self._drained: Result | None = None  # the result that waits until the pipeline is drained
        self._needs_rset = False
        self._unsent = False

    # --- what the shell tells -----------------------------------------------------------------------------------------

    def receive(self, data: bytes, unsent: bool = False) -> None:
        """The peer said this. unsent: some of the earlier output has not left for the peer."""
        self._unsent = unsent
        reader = self._reader
        table = self._table
        reader.feed(data)
        try:
            while self.step is not Step.CLOSED and (code := reader.next()):
                # What is still in `output` has no answer yet: a peer that replies ahead of it is guessing or lying. It
                # may refuse or leave at any time, though.
                if code < 400 and (self.output or (unsent and self.step is Step.CONTENT)):
                    self._nonsense(code)
                else:
                    table[self.step][4 if code == 421 else code // 100 - 2](self, code)
        except ReplyError as error:
            self._break(f"4.5.0 the host broke the protocol: {error}")

    def send(self, message: Message, body: Body) -> None:
        """Begin with this message; the step must be READY. `result` may be there at once."""
        octets = len(body)
        offered = self.offered
        if 0 < offered.size < octets:
            self.result = too_large(octets, offered.size)
            return
        if REQUIRE_TLS in message.context and not (self.verified and offered.requiretls):
            self.result = insecure(self.verified)
            return
        try:
            mail, rcpt = commands(message, octets, offered)
        except (NeedsSmtputf8, BadEnvelope) as why:
            self.result = unwritable(why)
            return
        self._body = body
        self._at = 0
        rset = self._needs_rset
        self._needs_rset = False
        steps = _RSET_GROUP if rset else _GROUP
        if offered.pipelining:
            self.output.append(_RSET + mail + rcpt + _DATA if rset else mail + rcpt + _DATA)
            self._sent = len(steps)
        else:
            self._commands = (_RSET, mail, rcpt, _DATA) if rset else (mail, rcpt, _DATA)
            self.output.append(self._commands[0])
            self._sent = 1
        self._steps = steps
        self.step = steps[0]

    def _begin(self, lines: list[bytes], body: Body) -> None:
        """The same for a transaction of MAIL and any RCPTs."""
        steps = (Step.MAIL, *(Step.RCPT,) * (len(lines) - 1), Step.DATA)
        lines.append(_DATA)
        if self._needs_rset:
            self._needs_rset = False
            steps = (Step.RSET, *steps)
            lines.insert(0, _RSET)
        self._body = body
        self._at = 0
        if self.offered.pipelining:
            self.output.append(b"".join(lines))
            self._sent = len(steps)
        else:
            self._commands = tuple(lines)
            self.output.append(lines[0])
            self._sent = 1
        self._steps = steps
        self.step = steps[0]

    def quit(self) -> None:
        """Take leave; the step must be READY."""
        self.output.append(_QUIT)
        self.step = Step.QUIT

    def lost(self, unsent: bool = False) -> None:
        """The connection is gone."""
        self._unsent = unsent
        self._break(f"4.4.2 the connection was lost before {AWAITED.get(self.step, 'its end')}")

    def timed_out(self, seconds: float, unsent: bool = False) -> None:
        """The peer said nothing (or took nothing) for so long."""
        self._unsent = unsent
        if unsent and self.step is Step.CONTENT:
            self._break(f"4.4.2 the host took none of the message for {seconds:g} s")
        else:
            self._break(f"4.4.2 no end of {AWAITED.get(self.step, 'the session')} within {seconds:g} s")

    def encrypted(self) -> None:
        """The handshake is done. What the host said in the clear counts for nothing any more (RFC 3207 4.2)."""
        self._demand = Demand.NO_TLS
        self._encrypted = True
        self.offered = Capabilities()
        self._reader = ReplyReader()
        self._greet(220)

    def not_encrypted(self, text: str) -> None:
        """The handshake failed. text: why, without a code. The peer can't be talked to any more."""
        self._break(f"4.7.5 {text}")

    # --- the moves of the table ---------------------------------------------------------------------------------------

    def _greet(self, code: int) -> None:
        verb = "LHLO" if self._manner.lmtp else "EHLO"
        self.output.append(f"{verb} {self._hello}\r\n".encode())
        self.step = Step.EHLO

    def _features(self, code: int) -> None:
        self.offered = parse_capabilities(self._reader.lines)
        if self._demand is not Demand.NO_TLS and self.offered.starttls:
            self.output.append(_STARTTLS)
            self.step = Step.STARTTLS
        else:
            self._ready(code)

    def _hello_of_old(self, code: int) -> None:
        if self._manner.lmtp:  # RFC 2033 4.1: there is no other
            self._unavailable(code)
            return
        self.output.append(f"HELO {self._hello}\r\n".encode())
        self.step = Step.HELO

    def _ready(self, code: int) -> None:
        """The session may begin, unless it had to be encrypted first."""
        if self._demand is Demand.NO_TLS:
            self._log_in()
            return
        self.refused_tls = True
        self._without_tls(Reply(451, "4.7.4 the host offers no STARTTLS, and mail to it must be encrypted"), True)

    def _handshake(self, code: int) -> None:
        """The host goes ahead. Anything it said beyond that was said in the clear by whoever stands between us, to be
        taken for the host's own word later (CVE-2011-0411): no session with such a peer."""
        if self._reader.pending():
            self._break("4.7.5 the host went on in the clear after it had agreed to TLS")
        else:
            self.step = Step.HANDSHAKE

    def _no_tls(self, code: int) -> None:
        """The host refuses STARTTLS that it offered. That is never the end of a message (the reply is not protected:
        anybody on the way could have said it), only of a session that must be encrypted."""
        self.refused_tls = True
        self._without_tls(Reply(code, self._reader.text()), False)

    def _without_tls(self, reply: Reply, internal: bool) -> None:
        if self._demand is Demand.TLS:
            self.failure = Result(Verdict.DEFERRED, reply, Stage.STARTTLS, internal)
            self.output.append(_QUIT)
            self.step = Step.CLOSED
        else:
            self._log_in()

    def _log_in(self) -> None:
        """Before any message, if the host wants to know us."""
        credential = self._manner.credential
        if credential is None:
            self.step = Step.READY
            return
        mechanism = credential.choose(self.offered.auth)
        if not (self._encrypted or credential.in_clear):
            self._no_login(Reply(451, "4.7.4 we log in only where the session is encrypted"), True)
        elif not mechanism:
            self._no_login(Reply(451, "4.7.4 the host offers no AUTH mechanism that we are to use"), True)
        else:
            self._exchange = credential.exchange(mechanism, self._manner.nonce)
            first = self._exchange.first()
            line = f"AUTH {mechanism}"
            if first is not None:
                coded = b64encode(first).decode() or "="
                if len(line) + len(coded) < _MAX_AUTH:
                    line = f"{line} {coded}"
                else:
                    self._initial = first
            self.output.append(f"{line}\r\n".encode())
            self.step = Step.AUTH

    def _challenge(self, code: int) -> None:
        assert self._exchange is not None
        initial, self._initial = self._initial, None
        try:
            challenge = b64decode(b"".join(self._reader.lines), validate=True)
            answer = self._exchange.answer(challenge) if initial is None else initial
        except (LoginError, Base64Error) as error:
            why = error if isinstance(error, LoginError) else "its challenge is no base64"
            self._break(f"4.7.0 the login failed: {why}")
            return
        self.output.append(b64encode(answer) + b"\r\n")

    def _logged_in(self, code: int) -> None:
        assert self._exchange is not None
        try:
            self._exchange.accepted()
        except LoginError as error:
            self._break(f"4.7.0 the login failed: {error}")
            return
        self._exchange = None
        self.step = Step.READY

    def _login_refused(self, code: int) -> None:
        """Our secret is the operator's affair, not the senders': mail waits until it is put right."""
        self._no_login(Reply(code, self._reader.text()), False)

    def _no_login(self, reply: Reply, internal: bool) -> None:
        self._exchange = None
        self.failure = Result(Verdict.DEFERRED, reply, Stage.AUTH, internal)
        self.output.append(_QUIT)
        self.step = Step.CLOSED

    def _unavailable(self, code: int) -> None:
        self.failure = Result(verdict_of(code), Reply(code, self._reader.text()), STAGES[self.step])
        if code != 421:
            self.output.append(_QUIT)
        self.step = Step.CLOSED

    def _next(self, code: int) -> None:
        at = self._at = self._at + 1
        if at == self._sent:
            self.output.append(self._commands[at])
            self._sent = at + 1
        self.step = self._steps[at]

    def _content(self, code: int) -> None:
        self.output.extend(wire_form(self._body)) if self._body is not None else self.output.append(END)
        self.step = Step.CONTENT

    def _delivered(self, code: int) -> None:
        self._finish(Result(Verdict.DELIVERED, Reply(code, self._reader.text()), Stage.CONFIRMATION))

    def _refused(self, code: int) -> None:
        step = self.step
        again = Again.NEXT_HOST if step is Step.MAIL and code < 500 else Again.NO
        result = Result(verdict_of(code), Reply(code, self._reader.text()), self._stage(), again=again)
        # A refused RCPT or DATA leaves the transaction open at the host. The RSET goes in front of the next MAIL, so it
        # costs no round trip.
        self._needs_rset = step is Step.RCPT or step is Step.DATA
        if step is Step.CONTENT:
            if self._unsent or self.output:
                # It refused before it had all. What is left can't be taken back, so the session is over.
                self.output.clear()
                self._finish(result)
                self.step = Step.CLOSED
                return
            self._finish(result)
        elif self._at + 1 < self._sent:
            self._drained = result
            self._at += 1
            self.step = Step.SKIP if self._steps[self._at] is Step.RCPT else Step.DRAIN
        else:
            self._finish(result)

    def _skip(self, code: int) -> None:
        self._at += 1
        self.step = Step.SKIP if self._steps[self._at] is Step.RCPT else Step.DRAIN

    def _abandon(self, code: int) -> None:
        self.output.append(END)
        self.step = Step.EMPTY

    def _drained_data(self, code: int) -> None:
        self._end_drain()

    def _emptied(self, code: int) -> None:
        # Whatever it says of the empty message, the transaction is over.
        self._needs_rset = False
        self._end_drain()

    def _end_drain(self) -> None:
        assert self._drained is not None
        result, self._drained = self._drained, None
        self._finish(result)

    def _stuck(self, code: int) -> None:
        """RSET was refused: this session is of no more use, but the message has not begun."""
        self._give_up(Reply(code, self._reader.text()), internal=False)

    def _leaving(self, code: int) -> None:
        """421: the host closes the session (RFC 5321 3.8)."""
        self._give_up(Reply(code, self._reader.text()), internal=False)

    def _gone(self, code: int) -> None:
        self.step = Step.CLOSED

    def _nonsense(self, code: int) -> None:
        self._break(f"4.5.0 the host broke the protocol: {code} instead of {AWAITED.get(self.step, 'the end')}")

    # --- endings ------------------------------------------------------------------------------------------------------

    def _stage(self) -> Stage:
        if self.step is Step.CONTENT and (self._unsent or self.output):
            return Stage.BODY
        return STAGES[self.step]

    def _finish(self, result: Result) -> None:
        self.result = result
        self.served += 1
        self._body = None
        self.step = Step.READY

    def _break(self, text: str) -> None:
        """The session can't go on, for a reason of our own."""
        if self.step is Step.CONTENT and not self._unsent and not self.output:
            # RFC 5321 4.5.3.2.6, RFC 1047: trying again may deliver it twice, giving up may lose it. So: again.
            text += "; it may have been delivered, and then the next try makes a duplicate"
        self._give_up(Reply(451, text), internal=True)

    def _give_up(self, reply: Reply, internal: bool) -> None:
        step = self.step
        stage = self._stage()
        if step in _SESSION:
            self.failure = Result(Verdict.DEFERRED, reply, stage, internal)
        elif step in _DRAINING:
            self.result, self._drained = self._drained, None
        elif step is Step.RSET or (step is Step.MAIL and self.served):
            # A host may end a session between two messages, and its word may cross ours on the way.
            self.result = Result(Verdict.DEFERRED, reply, stage, internal, Again.HAND_OVER)
        elif step is Step.MAIL:
            self.result = Result(Verdict.DEFERRED, reply, stage, internal, Again.NEXT_HOST)
        elif step in (Step.RCPT, Step.DATA, Step.CONTENT):
            self.result = Result(Verdict.DEFERRED, reply, stage, internal)
        self.output.clear()
        self._body = None
        self.step = Step.CLOSED


Move = Callable[[Any, int], None]  # a method of Machine, or of the subclass whose table it is; the reply's code


class Row(NamedTuple):
    """Where each kind of reply leads."""

    ok: Move
    more: Move
    temporary: Move
    permanent: Move
    closing: Move


_M = Machine
TABLE: dict[Step, Row] = {
    #                  2xx               3xx           4xx               5xx               421
    Step.BANNER: Row(_M._greet, _M._nonsense, _M._unavailable, _M._unavailable, _M._unavailable),
    Step.EHLO: Row(_M._features, _M._nonsense, _M._unavailable, _M._hello_of_old, _M._unavailable),
    Step.HELO: Row(_M._ready, _M._nonsense, _M._unavailable, _M._unavailable, _M._unavailable),
    Step.READY: Row(_M._nonsense, _M._nonsense, _M._nonsense, _M._nonsense, _M._leaving),
    Step.RSET: Row(_M._next, _M._nonsense, _M._stuck, _M._stuck, _M._leaving),
    Step.MAIL: Row(_M._next, _M._nonsense, _M._refused, _M._refused, _M._leaving),
    Step.RCPT: Row(_M._next, _M._nonsense, _M._refused, _M._refused, _M._leaving),
    Step.SKIP: Row(_M._skip, _M._nonsense, _M._skip, _M._skip, _M._leaving),
    Step.DATA: Row(_M._nonsense, _M._content, _M._refused, _M._refused, _M._leaving),
    Step.DRAIN: Row(_M._nonsense, _M._abandon, _M._drained_data, _M._drained_data, _M._leaving),
    Step.EMPTY: Row(_M._emptied, _M._nonsense, _M._emptied, _M._emptied, _M._leaving),
    Step.CONTENT: Row(_M._delivered, _M._nonsense, _M._refused, _M._refused, _M._leaving),
    Step.QUIT: Row(_M._gone, _M._gone, _M._gone, _M._gone, _M._gone),
    Step.CLOSED: Row(_M._gone, _M._gone, _M._gone, _M._gone, _M._gone),
    Step.STARTTLS: Row(_M._handshake, _M._nonsense, _M._no_tls, _M._no_tls, _M._unavailable),
    Step.HANDSHAKE: Row(_M._nonsense, _M._nonsense, _M._nonsense, _M._nonsense, _M._nonsense),
    Step.AUTH: Row(_M._logged_in, _M._challenge, _M._login_refused, _M._login_refused, _M._unavailable),
}
Machine._table = tuple(TABLE[step] for step in Step)


def verdict_of(code: int) -> Verdict:
    return Verdict.FAILED if code >= 500 else Verdict.DEFERRED
