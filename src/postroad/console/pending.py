"""What was shown to an operator and waits for the word to be done: the second step of everything that destroys.

A token stands for one act on exactly the messages that were selected and counted, not for whatever the selector would
find later: mail that came in between is not touched. Pure: time and randomness are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

LIFE = 300.0  # seconds
_MOST = 8  # selections kept, of 8 octets a message; the oldest goes


class Pending(NamedTuple):
    """asked: the arguments of the first step. meant: the messages that were selected."""

    verb: str
    who: str
    asked: Any
    meant: Any
    until: float


class PendingError(Exception):
    """The token stands for nothing (any more). The message says so."""


class Pendings:
    """token(): an unguessable text."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token
        self._by_token: dict[str, Pending] = {}

    def keep(self, verb: str, who: str, asked: object, meant: object, now: float) -> str:
        """now: seconds of a clock that never jumps."""
        for token, pending in list(self._by_token.items()):
            if pending.until <= now or len(self._by_token) >= _MOST:
                del self._by_token[token]
        token = self._token()
        self._by_token[token] = Pending(verb, who, asked, meant, now + LIFE)
        return token

    def take(self, token: str, verb: str, who: str, now: float) -> Pending:
        """Once. Raises PendingError; a token of somebody else's, or of another verb, stays."""
        pending = self._by_token.get(token)
        if pending is None or pending.until <= now:
            raise PendingError(f"this confirmation is not known or older than {LIFE:.0f} s: select again")
        if pending.verb != verb or pending.who != who:
            raise PendingError("this confirmation belongs to another command or another operator")
        del self._by_token[token]
        return pending
