"""The states of an SMTP session as the server sees it (RFC 5321 4.1.4), and the one table of what may follow what.

The machine obeys this table and the documentation is drawn from it (`draw`). A command refused for its own sake (a bad
address, no relaying) leaves the state as it is; only its success makes the step. Content that is refused, at DATA or
BDAT or at its end, ends the transaction.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a session stands. The value is what the documentation says of it."""

    GREETING = "connected, the 220 not yet sent"
    START = "greeted, no EHLO yet"
    READY = "between transactions"
    HANDSHAKE = "STARTTLS was accepted, the TLS handshake is under way"
    LOGIN = "between the lines of an AUTH exchange"
    MAIL = "a sender is known"
    RCPT = "a sender and at least one recipient are known"
    DATA = "content arrives, up to CRLF.CRLF"
    CHUNK = "the octets of one BDAT arrive"
    CHUNKS = "between two BDAT of one message"
    CLOSED = "nothing more is read"

    # Enum hashes its members' names in Python, which is felt at several look-ups a command.
    __hash__ = object.__hash__


# Inputs that are no commands: what the content readers, and we ourselves, bring about.
GREETED = "(greeted)"
CONTENT_READ = "(end of data)"
CHUNK_READ = "(chunk read)"
SECURED = "(TLS is up)"
ANSWERED = "(exchange over)"

_ANYTIME = ("NOOP", "VRFY", "HELP")


def _commands(state: State, steps: dict[str, State]) -> dict[str, State]:
    """The row of a state that takes commands: its own steps, and those every such state has."""
    reset = State.START if state is State.START else State.READY
    common = {"EHLO": State.READY, "HELO": State.READY, "LHLO": State.READY, "RSET": reset, "QUIT": State.CLOSED}
    return {**steps, **common, **dict.fromkeys(_ANYTIME, state)}


TABLE: dict[State, dict[str, State]] = {
    State.GREETING: {GREETED: State.START},
    State.START: _commands(State.START, {"XCLIENT": State.START}),
    State.READY: _commands(
        State.READY,
        {"MAIL": State.MAIL, "STARTTLS": State.HANDSHAKE, "AUTH": State.LOGIN, "XCLIENT": State.START},
    ),
    State.HANDSHAKE: {SECURED: State.START},
    State.LOGIN: {ANSWERED: State.READY},
    State.MAIL: _commands(State.MAIL, {"RCPT": State.RCPT}),
    State.RCPT: _commands(State.RCPT, {"RCPT": State.RCPT, "DATA": State.DATA, "BDAT": State.CHUNK}),
    State.DATA: {CONTENT_READ: State.READY},
    State.CHUNK: {CHUNK_READ: State.CHUNKS, CONTENT_READ: State.READY},
    State.CHUNKS: _commands(State.CHUNKS, {"BDAT": State.CHUNK}),
    State.CLOSED: {},
}

READS_OCTETS = frozenset((State.DATA, State.CHUNK))
UNDER_WAY = READS_OCTETS | {State.CHUNKS}
# A session that stands here owes and is owed nothing: it may be told to go (RFC 5321 3.8).
AT_REST = frozenset((State.START, State.READY))


def draw() -> str:
    """The table in Markdown: a row a state, "input → next state" in its cells' order."""
    lines = ["| state | meaning | what may come, and where it leads |", "|---|---|---|"]
    for state, steps in TABLE.items():
        moves = ", ".join(f"{word} → {after.name}" for word, after in steps.items())
        lines.append(f"| {state.name} | {state.value} | {moves or 'nothing'} |")
    return "\n".join(lines) + "\n"
