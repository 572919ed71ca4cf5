"""Records of jobs, written anew where the old place stands in the way.

A job outlives most of the mail that it made, and its record keeps more than itself: the file that it stands in, with a
request of megabytes, and all events since that file, since those are what recovery folds. So a record goes on: one of a
job that is over without its request, as soon as its file is full; any when events are kept beyond their time because
of it. What its events said goes along, in the record's entry.

It is the copy of a record that compaction makes as well, and as safe: the new one is kept, then the old one ends.
"""

from __future__ import annotations

import asyncio

import structlog

from postroad.journal import Journal, JournalError, LiveRecipient, Mail
from postroad.queue.jobs import Job, Jobs, encode_job

log = structlog.get_logger()

_AT_ONCE = 100  # records under way
_AGAIN = 1.0  # seconds until what could not be moved is tried again


class Tidy:
    """Construct it inside the running event loop."""

    def __init__(self, jobs: Jobs, journal: Journal) -> None:
        self._jobs = jobs
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._held = (0, 0)  # mail segments, lowest and highest, that keep events beyond their time
        self._after = 0.0  # loop time before which nothing is tried
        journal.on_held_back = self._held_back

    def _held_back(self, low: int, high: int) -> None:
        self._held = low, high
        self._jobs.woken()

    async def run(self) -> None:
        """Write anew what stands in the way. While this runs, no message of a job may be under way."""
        if self._loop.time() < self._after:
            return
        wanted = self._wanted()
        self._held = 0, 0
        for start in range(0, len(wanted), _AT_ONCE):
            results = await asyncio.gather(
                *(self._renew(job) for job in wanted[start : start + _AT_ONCE]), return_exceptions=True
            )
            for result in results:
                if isinstance(result, JournalError):
                    # On a disk that takes nothing, or while compaction has it. The old place is as good as before.
                    self._after = self._loop.time() + _AGAIN
                elif result is not None:
                    raise result

    def _wanted(self) -> list[Job]:
        wanted = {job.number: job for job in self._jobs.spent(self._journal.filling)}
        low, high = self._held
        if high:
            wanted.update((job.number, job) for job in self._jobs if low <= job.place >> 32 <= high)
        return list(wanted.values())

    async def _renew(self, job: Job) -> None:
        """Raises JournalError: nothing has changed."""
        place, content = job.place, b""
        if not job.over:
            stored = await self._loop.run_in_executor(None, self._journal.read_mail, place)
            content = stored.content
        if job.place != place or job.submitted:
            raise JournalError("the job has gone on meanwhile")
        mail = Mail([job.number], round(job.received * 1000), encode_job(job.about), b"", content)
        # The state as it is now: events that are under way say no more.
        live = [LiveRecipient(job.number, 0, job.phase, job.progress.pack())]
        over = job.over
        await self._journal.replace(place, live, mail)
        if over:
            self._jobs.emptied(job)
