"""Re-homing: after the number of engines was changed, every queued message goes into the journal of its owner.

It is done before any engine starts, by a process of its own that has the journals to itself. First the message is kept
in the new journal, then it is gone from the old one; both synced, whatever `durability` says. Cut short in between, it
stands in both, and as no engine has run since, the two are the same: the next start ends one of them.

Strays are not looked for as long as the number stays: a message may be in any engine's journal.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from postroad.config.schema import Config
from postroad.events import EventEncoder, Kind
from postroad.journal import (
    JOB,
    Event,
    Journal,
    JournalDamaged,
    JournalError,
    LiveMail,
    LiveRecipient,
    Mail,
    journal_folder,
    journal_folders,
)
from postroad.net import Clock, SystemClock
from postroad.queue.endings import lost_event
from postroad.queue.jobs import Phase, decode_job, encode_job, is_job, owner_of_key
from postroad.queue.stored import common_event, decode_dues, mark_job
from postroad.serve.errors import StartError
from postroad.serve.frames import Ready, Start, unpack
from postroad.serve.homes import Homes, read_homes, write_homes
from postroad.serve.link import Link
from postroad.serve.owner import Owners

log = structlog.get_logger()

_AT_ONCE = 16 << 20  # octets of messages under way between two journals
_STUCK = 60.0  # seconds without a commit after which the disk is taken for broken
_TELL_EVERY = 5.0  # seconds between two lines about how far we are


class Move(NamedTuple):
    """Messages of one record that go to another journal."""

    place: int
    target: int
    live: list[LiveRecipient]


async def run(start: Start, link: Link, stop: asyncio.Event) -> None:
    """The process: Ready says that all is in order. Raises StartError."""
    generation = unpack(start.generation)
    work = asyncio.ensure_future(rehome(generation.config, generation.data_dir, SystemClock()))
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return
    try:
        moved = work.result()
    except (OSError, JournalError, msgspec.DecodeError) as error:
        text = f"the queued mail can't be moved to the journals of {start.engines} engines: {error}"
        raise StartError(text) from error
    log.info("moved", engines=start.engines, messages=moved.total())
    link.send(Ready())
    await stop.wait()


async def rehome(config: Config, data_dir: Path, clock: Clock) -> Counter[int]:
    """Returns how many messages went to each engine. Raises JournalError and OSError; then nothing is lost, and the
    next start goes on where this one ended."""
    engines = config.server.engines
    homes = read_homes(data_dir)
    write_homes(data_dir, Homes(homes.engines, moving=True))
    async with AsyncExitStack() as stack:
        journals: dict[int, Journal] = {}
        for number in sorted({*range(engines), *journal_folders(data_dir)}):
            journals[number] = _open(config, data_dir, clock, number)
            stack.push_async_callback(journals[number].close)
        removal = Removal(journals, Owners(config, engines), clock)
        if homes.moving:
            await removal.note_doubles()
        for number in journals:
            await removal.empty(number)
    write_homes(data_dir, Homes(engines))
    return removal.moved


def _open(config: Config, data_dir: Path, clock: Clock, number: int) -> Journal:
    encoder = EventEncoder()

    def injection(message_id: int, index: int, mail: LiveMail) -> Event:
        """As the engine would make it again."""
        if is_job(mail.meta):
            return Event(message_id, 0, b"", flags=JOB, next_attempt_ms=message_id)
        common, binding, connection = common_event(mail.meta, index)
        payload = encoder.injection(common, message_id, mail.received_ms / 1000, binding, connection)
        event = Event(message_id, Kind.INJECTION, payload, place=mail.place, index=index)
        return mark_job(event, mail.meta, index)

    journal = Journal.open(
        journal_folder(data_dir, number),
        config.journal,
        durability="power",
        clock=clock,
        injection=injection,
        engine=number,
    )
    journal.on_alarm = lambda name, text: log.warning("alarm", alarm=name, text=text, engine=number)
    return journal


class Removal:
    """Moves what is not at home. journals: all there are, open and not recovered yet."""

    def __init__(self, journals: dict[int, Journal], owners: Owners, clock: Clock) -> None:
        self.moved: Counter[int] = Counter()
        self._journals = journals
        self._owners = owners
        self._clock = clock
        self._encoder = EventEncoder()
        self._doubles: dict[int, int] = {}  # message id: the journal in which it stays
        self._told = asyncio.get_running_loop().time()

    async def note_doubles(self) -> None:
        """Find the messages that stand in two journals. Best they stay with their owner, if that is one of the two."""
        found: dict[int, int] = {}
        for number, journal in self._journals.items():
            for mails in journal.preview():
                for mail in mails:
                    for one in mail.live:
                        if one.message_id in found:
                            at_home = number == self._owner(mail, one)
                            self._doubles[one.message_id] = number if at_home else found[one.message_id]
                        found.setdefault(one.message_id, number)
                await asyncio.sleep(0)

    def _owner(self, mail: LiveMail, one: LiveRecipient) -> int:
        try:
            return -1 if is_job(mail.meta) else self._owners.of(decode_dues(mail.meta)[one.index].domain)
        except (msgspec.DecodeError, IndexError):
            return -1

    async def empty(self, number: int) -> None:
        """Move what this journal holds of others' mail."""
        journal = self._journals[number]
        for mails in journal.recover(200):
            moves = [move for mail in mails for move in self._moves(number, mail)]
            while moves:
                moves = moves[await self._carry(number, moves) :]
            await asyncio.sleep(0)
        if number >= self._owners.engines:
            await self._end_lost(journal)

    def _moves(self, number: int, mail: LiveMail) -> list[Move]:
        try:
            if is_job(mail.meta):
                return self._job_moves(number, mail)
            dues = decode_dues(mail.meta)
            by_owner: dict[int, list[LiveRecipient]] = {}
            for one in mail.live:
                due = dues[one.index]
                owner = self._owners.of(due.domain)
                if due.job and not mail.carried and self._untold(number, due.job, due.at):
                    owner = self._job_home(number)
                if self._doubles.get(one.message_id, number) != number:
                    owner = -1  # it is in another journal
                by_owner.setdefault(owner, []).append(one)
        except (msgspec.DecodeError, IndexError):
            # The engine that gets it will say that it can't be read.
            by_owner = {number if number < self._owners.engines else 0: list(mail.live)}
        return [Move(mail.place, owner, live) for owner, live in by_owner.items() if owner != number]

    def _job_home(self, number: int) -> int:
        """Jobs stay in their journal as long as there is an engine for it."""
        return number if number < self._owners.engines else 0

    def _untold(self, number: int, job: int, at: int) -> bool:
        """The crash took the event that says that this recipient of a job is done: only its message tells, so it stays
        with the job, whose engine will write it (see Jobs.recovered_message)."""
        known = self._journals[number].recovered_progress(job)
        return known is not None and not known.covers(at)

    def _job_moves(self, number: int, mail: LiveMail) -> list[Move]:
        """A job that is over goes where its Idempotency-Key is asked for. One that is not stays with its messages."""
        owner = self._job_home(number)
        if mail.live[0].attempts >= Phase.SUCCESS and (key := decode_job(mail.meta).key):
            owner = owner_of_key(key.encode(), self._owners.engines)
        if self._doubles.get(mail.live[0].message_id, number) != number:
            owner = -1  # it is in another journal
        return [Move(mail.place, owner, list(mail.live))] if owner != number else []

    async def _carry(self, number: int, moves: list[Move]) -> int:
        """The first of these, as many as go together. Returns how many those were."""
        source = self._journals[number]
        kept: list[asyncio.Future[None]] = []
        gone: list[Move] = []
        octets = 0
        count = 0
        for move in moves:
            if octets >= _AT_ONCE:
                break
            count += 1
            if move.target < 0:
                gone.append(move)
                continue
            try:
                stored = source.read_mail(move.place)
            except JournalDamaged:
                await self._unreadable(source, number, move)
                continue
            octets += len(stored.content) + len(stored.trace) + len(stored.meta)
            ids = [one.message_id for one in move.live]
            meta, content = stored.meta, stored.content
            if is_job(meta) and move.live[0].attempts >= Phase.SUCCESS:
                meta, content = _with_end(meta, source.recovered_since(ids[0]) / 1000), b""
            mail = Mail(ids, stored.received_ms, meta, stored.trace, content)
            kept.append(_done(partial(self._journals[move.target].append_homed, mail, move.live)))
            gone.append(move)
        await _all(kept)
        await _all([_done(partial(source.append_gone, move.place, one)) for move in gone for one in move.live])
        for move in gone:
            if move.target >= 0:
                self.moved[move.target] += len(move.live)
        self._tell()
        return count

    async def _unreadable(self, source: Journal, number: int, move: Move) -> None:
        """Its body is damaged. The engine whose journal it is in ends it; where there is none any more, we do."""
        if number >= self._owners.engines:
            await _all([self._lost(source, one.message_id, one.index, move.place) for one in move.live])

    async def _end_lost(self, journal: Journal) -> None:
        for damage in journal.damage:
            ids = zip(damage.ids, damage.indexes, strict=True)
            await _all([self._lost(journal, one, index, damage.place) for one, index in ids])

    def _lost(self, journal: Journal, message_id: int, index: int, place: int) -> asyncio.Future[None]:
        event = lost_event(self._encoder, Kind, message_id, index, place, self._clock.wall())
        return _done(partial(journal.append_event, event))

    def _tell(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            log.info("moving", moved=self.moved.total(), text="queued mail goes to its engines' journals")


def _with_end(meta: bytes, ended: float) -> bytes:
    """Of a job that is over: its meta with its end, which the events of its journal tell alone so far."""
    about = decode_job(meta)
    about.ended = about.ended or ended
    return encode_job(about)


def _done(begin: Callable[[Callable[[Any], None]], None]) -> asyncio.Future[None]:
    """begin(done) begins something that calls done(result) in the end. A result that is an error is raised."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(result: object) -> None:
        if future.done():
            return  # nobody waits any more
        if isinstance(result, JournalError):
            future.set_exception(result)
        else:
            future.set_result(None)

    begin(done)
    return future


async def _all(waiting: Sequence[asyncio.Future[None]]) -> None:
    if not waiting:
        return
    try:
        # A disk that fails keeps events waiting for better times. There are none here: the user has to see to it.
        await asyncio.wait_for(asyncio.gather(*waiting), _STUCK)
    except TimeoutError:
        raise JournalError("the journal's disk takes nothing any more") from None
