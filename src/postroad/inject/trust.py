"""The part of the protocol machine by which a client shows who it is: STARTTLS (RFC 3207), AUTH (RFC 4954), XCLIENT.

Secrets are decoded here and go to the shell in `Auth` and `AuthResponse`; none is ever kept, or said back.
"""

from __future__ import annotations

import binascii

from postroad.inject import replies
from postroad.inject.arrival import Arrival
from postroad.inject.commands import BadCommand
from postroad.inject.events import Auth, AuthResponse, StartTls, XClient
from postroad.inject.incoming import LineTooLong
from postroad.inject.offer import PLAIN
from postroad.inject.tables import ANSWERED, SECURED, TABLE, State
from postroad.inject.xclient import parse_xclient
from postroad.message import Reply

MAX_RESPONSE = 12_288  # octets of a line of an AUTH exchange, CRLF included (RFC 4954 4)


class Trust(Arrival):
    """What follows from TLS, a login or a relay that is trusted with the truth about its client."""

    __slots__ = ()

    # TLS.

    def _do_starttls(self, argument: str) -> None:
        if argument:
            raise BadCommand(replies.NO_ARGUMENT)
        if not self.offer.starttls:
            self._bad(replies.TLS_TWICE if self.secure else replies.NOT_IMPLEMENTED)
        elif self.has_unread:
            # What came with it in the clear could be somebody else's, to be obeyed as if it had come under TLS.
            self.end(replies.BEHIND_STARTTLS)
        else:
            self._ask(StartTls())

    def _shake(self, asked: StartTls, reply: Reply | None) -> None:
        self._say(reply or replies.START_TLS)
        if reply is None:
            self.state = TABLE[self.state]["STARTTLS"]

    def secured(self) -> None:
        """The handshake is done: all that was said before is forgotten (RFC 3207 4.2)."""
        self.secure = True
        if self.state is State.HANDSHAKE:
            self._forget(TABLE[self.state][SECURED])

    def _forget(self, state: State) -> None:
        """Begin anew: no EHLO, no login, no transaction. What this session may use is for the shell to say again."""
        self.hello, self.extended, self.user, self.offer = "", False, "", PLAIN
        self._excused = False
        self._reset(state)

    # AUTH.

    def _do_auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        mechanism = mechanism.upper()
        if not self.offer.auth:
            self._bad(replies.NOT_IMPLEMENTED)
        elif self.user:
            self._bad(replies.AUTH_TWICE)
        elif not self.extended:
            self._bad(replies.EHLO_FIRST)
        elif not mechanism:
            self._bad(replies.AUTH_SYNTAX)
        elif mechanism not in self.offer.mechanisms:
            self._bad(replies.UNKNOWN_MECHANISM if self.offer.mechanisms else replies.NEEDS_TLS)
        else:
            # "=" is an initial response of no octets, its absence is none (RFC 4954 4).
            octets = b"" if initial == "=" else _decoded(initial) if initial else None
            self._ask(Auth(mechanism, octets))

    def _read_response(self) -> bool:
        """One line of an AUTH exchange, if it is there. False: more octets are wanted."""
        try:
            line = self._incoming.line(max(MAX_RESPONSE, self.options.max_command_length))
            if line is None:
                return False
            if line == b"*":
                self.state = TABLE[self.state][ANSWERED]
                self._bad(replies.AUTH_CANCELLED)
                return True
            self._ask(AuthResponse(_decoded(line.decode("latin-1"))))
        except LineTooLong:
            self.state = TABLE[self.state][ANSWERED]
            self._bad(replies.LINE_TOO_LONG)
        except BadCommand as refused:
            self.state = TABLE[self.state][ANSWERED]
            self._bad(refused.reply)
        return True

    def _judge_login(self, asked: Auth | AuthResponse, reply: Reply | None) -> None:
        """334 goes on, 235 (the shell has set `user`) and refusals end the exchange."""
        if reply is not None and reply.code == 334:
            self._say(reply)
            self.state = TABLE[State.READY]["AUTH"]
            return
        if self.state is State.LOGIN:
            self.state = TABLE[self.state][ANSWERED]
        if reply is None or reply.code < 400:
            self._say(reply or replies.LOGGED_IN)
        else:
            self._refuse(reply)

    # XCLIENT.

    def _do_xclient(self, argument: str) -> None:
        if not self.offer.xclient:
            self._bad(replies.XCLIENT_DENIED if self.offer.auth or self.secure else replies.NOT_IMPLEMENTED)
        else:
            self._ask(XClient(parse_xclient(argument)))

    def _believe(self, asked: XClient, reply: Reply | None) -> None:
        """The session begins anew, as the client's that the relay speaks for: its greeting is the answer."""
        if reply is not None and reply.code >= 400:
            self._say(reply)
            return
        self._forget(TABLE[self.state]["XCLIENT"])
        self._say(Reply(220, f"{self.hostname} {self.options.banner}"))


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("latin-1", "replace"), strict_mode=True)
    except binascii.Error:
        raise BadCommand(replies.BAD_BASE64) from None
