"""What happens to the journal while it is still being loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postroad.config.schema import JournalOptions, Size
from postroad.journal import ACCEPTED, TERMINAL, Event, Journal, JournalError, Mail, audit
from postroad.lab.disks import MemoryDisk
from postroad.net import SystemClock

FOLDER = Path("/journal")
OPTIONS = JournalOptions(segment_size=Size(1 << 16))


def opened(disk: MemoryDisk) -> Journal:
    return Journal.open(FOLDER, OPTIONS, clock=SystemClock(), disk=disk)


async def appended(journal: Journal, event: Event) -> None:
    done: asyncio.Future[JournalError | None] = asyncio.get_running_loop().create_future()
    journal.append_event(event, done.set_result)
    assert await done is None


async def test_messages_end_while_others_are_loaded() -> None:
    """Mail goes out as soon as it is loaded, so segments are emptied and removed before the last one is read."""
    disk = MemoryDisk()
    journal = opened(disk)
    for number in range(1, 9):  # a segment holds one of them
        kept: asyncio.Future[int | JournalError] = asyncio.get_running_loop().create_future()
        mail = Mail([number], 1000, b"", b"", b"x" * 40_000)
        journal.append_mail(mail, [Event(number, 1, b"{}", flags=ACCEPTED)], kept.set_result)
        assert isinstance(await kept, int)
    journal.abandon()

    journal = opened(disk)
    before = journal.stats().mail_segments
    found: list[int] = []
    waiting: list[Event] = []
    for mails in journal.recover(batch=1):
        for end in waiting:  # those of segments that were read to their end
            await appended(journal, end)
        waiting = []
        for loaded in mails:
            for one in loaded.live:
                found.append(one.message_id)
                waiting.append(Event(one.message_id, 2, b"{}", flags=TERMINAL, place=loaded.place, index=one.index))
    for end in waiting:
        await appended(journal, end)
    assert sorted(found) == list(range(1, 9))
    assert journal.stats().recovered
    assert journal.stats().mail_segments < before
    await journal.close()
    report = audit(FOLDER, disk)
    assert report.clean and report.queued == 0, report
