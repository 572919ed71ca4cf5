"""What the journal's events tell of one message."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from postroad.journal import TERMINAL, Journal
from postroad.message import id_time

_READ = 5000  # events read at once
_MOST = 2_000_000  # events looked at for one message: a few seconds of a thread
_EARLY = 5.0  # seconds: an id is given a moment before its message is kept, and the clock may have been set back


class History(NamedTuple):
    """events: decoded, oldest first. complete: False when some may be missing, since they are not kept any more or lie
    too far back. ended: the last of them is the message's end."""

    events: list[dict[str, Any]]
    complete: bool
    ended: bool


def history(journal: Journal, number: int) -> History:
    """Blocks; in a thread. Looks from the moment of the id on, until the message's end or the stream's."""
    began = id_time(number) - _EARLY
    cursor = journal.cursor_at(began)
    found: list[dict[str, Any]] = []
    looked = 0
    ended = False
    while not ended:
        events, following = journal.read_events(cursor, _READ, 8 << 20)
        for event in events:
            if event.message_id == number:
                found.append(json.loads(event.payload))
                ended |= bool(event.flags & TERMINAL)
        looked += len(events)
        if following == cursor or looked >= _MOST:
            break
        cursor = following
    whole = bool(found) and found[0].get("type") == "injection"
    return History(found, whole and looked < _MOST, ended)
