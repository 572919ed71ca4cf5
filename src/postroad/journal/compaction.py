"""Rewriting mail segments that a few messages pin: what is not done is copied to the stream's end, and the file goes.

The copy is an ordinary mail record with the flag MOVED. It carries each message's state, so that events about the old
place are not needed any more. While a message is being copied, its events wait, and then name the new place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from postroad.journal.disk import File
from postroad.journal.errors import JournalError
from postroad.journal.format import MovedMail
from postroad.journal.live import LiveSegment
from postroad.journal.records import LiveRecipient, Mail, StoredMail, pack_place
from postroad.journal.scan import MailScanner

_CHUNK_MESSAGES = 200
_CHUNK_BYTES = 1 << 20


class _Candidate(NamedTuple):
    place: int
    size: int
    entries: list[LiveRecipient]


def _candidates(open_file: Callable[[int], File], number: int, salt: int) -> list[_Candidate]:
    """The segment's records. Blocking. Damaged ones are left out: what they held can't be copied."""
    file = open_file(number)
    scanner = MailScanner(file, number, salt, file.size())
    return [
        _Candidate(pack_place(number, row.offset), row.size, row.entries)
        for row in scanner.rows()
        if row.entries is not None and row.meta is not None
    ]


class Keeper(Protocol):
    """What compaction needs of the journal."""

    def open_mail(self, number: int) -> File: ...

    def read_mail(self, place: int) -> StoredMail: ...

    def message_state(self, message_id: int) -> tuple[int, int]: ...

    def is_moving(self, message_id: int) -> bool: ...

    def move(self, place: int, moved: MovedMail) -> asyncio.Future[None]: ...


async def compact_segment(keeper: Keeper, number: int, segment: LiveSegment, salt: int, below: float) -> bool:
    """Copy what is live in a sealed segment when its share of bytes is below this. True: nothing is left in it.

    One at a time. Raises OSError when the segment can't be read.
    """
    loop = asyncio.get_running_loop()
    done: set[int] = set()
    seen = 0

    def live(entries: list[LiveRecipient]) -> list[LiveRecipient]:
        nonlocal seen
        done.update(segment.done[seen:])
        seen = len(segment.done)
        return [entry for entry in entries if entry.message_id not in done]

    found = await loop.run_in_executor(None, _candidates, keeper.open_mail, number, salt)
    wanted = [candidate for candidate in found if live(candidate.entries)]
    if sum(candidate.size for candidate in wanted) > below * sum(candidate.size for candidate in found):
        segment.tried = segment.live  # a few large messages: not worth copying until some of them end
        return False
    moves: list[asyncio.Future[None]] = []
    messages = octets = 0
    try:
        for candidate in wanted:
            stored = await loop.run_in_executor(None, keeper.read_mail, candidate.place)
            entries = live(candidate.entries)  # some may have ended while we read
            # A round that was cancelled may have left copies under way; theirs is the place that counts.
            entries = [entry for entry in entries if not keeper.is_moving(entry.message_id)]
            if not entries:
                continue
            entries = [
                LiveRecipient(entry.message_id, entry.index, *keeper.message_state(entry.message_id))
                for entry in entries
            ]
            mail = Mail([e.message_id for e in entries], stored.received_ms, stored.meta, stored.trace, stored.content)
            moves.append(keeper.move(candidate.place, MovedMail(mail, entries, number)))
            messages += len(entries)
            octets += candidate.size
            if messages >= _CHUNK_MESSAGES or octets >= _CHUNK_BYTES:
                await asyncio.gather(*moves)
                moves, messages, octets = [], 0, 0
        await asyncio.gather(*moves)
    except (JournalError, OSError):
        segment.tried = segment.live
        await asyncio.gather(*moves, return_exceptions=True)
        return False
    segment.tried = segment.live  # what is left now, if anything, is damaged
    return segment.live == 0
