"""Putting what the journal held at the start back in line."""

from __future__ import annotations

import asyncio

from postroad.journal import LiveMail
from postroad.message import PRIORITY
from postroad.queue.books import Books
from postroad.queue.endings import Endings
from postroad.queue.entry import Entry, State, Why
from postroad.queue.jobs import Jobs, is_job
from postroad.queue.order import flow_number
from postroad.queue.paths import Path
from postroad.queue.stored import decode_dues


async def recover(books: Books, endings: Endings, jobs: Jobs) -> int:
    """Load all live messages, in slices, while new mail is served. Returns how many there were."""
    found = 0
    for mails in books.journal.recover():
        woken: dict[Path, None] = {}
        for mail in mails:
            if is_job(mail.meta):
                _take_up(mail, endings, jobs)
            else:
                found += _line_up(mail, books, endings, woken, jobs)
        for path in woken:
            books.wake(path.binding, path.domain)
        await asyncio.sleep(0)
    books.ids.seen(books.journal.last_id)
    jobs.recovery_done()
    for damage in books.journal.damage:
        for index, number in zip(damage.indexes, damage.ids, strict=True):
            endings.lost(number, index, damage.place)
    return found


def _take_up(mail: LiveMail, endings: Endings, jobs: Jobs) -> None:
    try:
        jobs.recovered(mail)
    except ValueError:
        for live in mail.live:
            endings.lost(live.message_id, live.index, mail.place)


def _line_up(mail: LiveMail, books: Books, endings: Endings, woken: dict[Path, None], jobs: Jobs) -> int:
    try:
        dues = decode_dues(mail.meta)
        recipients = [(live, dues[live.index]) for live in mail.live]
    except (ValueError, IndexError):
        # The checksum is right but the envelope is not ours to read: say so rather than keep it for ever.
        for live in mail.live:
            endings.lost(live.message_id, live.index, mail.place)
        return 0
    now = books.now()
    # No wait is longer than this. What seems to wait longer was written when the clock was ahead.
    latest = now + books.options.max_retry_interval * (1.0 + books.options.retry_jitter)
    for live, due in recipients:
        if due.job and not mail.carried:
            jobs.recovered_message(due.job, due.at, mail.place)
        path = books.paths.open(due.binding, due.domain)
        next_at = min(live.next_attempt_ms / 1000, latest)
        delayed = next_at > now
        entry = Entry(
            mail.place,
            live.index,
            live.attempts,
            path.number,
            mail.received_ms // 1000,
            int(due.expires),
            int(next_at) if delayed else 0,
            State.DELAYED if delayed else State.ACTIVE,
            Why.RECOVERED,
            0,
            flow_number({PRIORITY: due.priority}, due.subaccount, due.campaign),
        )
        books.live.enter_packed(path, live.message_id, entry)
        if delayed:
            books.paths.delay(path, live.message_id, next_at)
        else:
            path.join(live.message_id, entry.flow, retry=bool(live.attempts))
            path.expiry = min(path.expiry, due.expires)
            woken[path] = None
    return len(recipients)
