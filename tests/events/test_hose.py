"""Consumers of the hose, on a real journal."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from postroad.config.schema import Duration, JournalOptions, Size
from postroad.events import At, ConsumerError, Hose, Kind, find, tail
from postroad.journal import Event, EventReader, HoseEvent, Journal, JournalError
from postroad.net import SystemClock

KEEP = JournalOptions()
# Segments as small as they may be, and nothing kept for its age.
SHORT = JournalOptions(segment_size=Size(1 << 16), event_retention=Duration(0))


def open_journal(path: Path, options: JournalOptions = KEEP) -> Journal:
    journal = Journal.open(path / "journal", options, durability="process", clock=SystemClock(), rng=Random(1))
    for _ in journal.recover():
        pass
    return journal


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = open_journal(tmp_path)
    yield journal
    await journal.close()


async def tell(
    journal: Journal, numbers: range, kind: Kind = Kind.POLICY_REJECTION, size: int = 0, at: int = 0
) -> None:
    """Append an event a number and wait for the commit of all. at: Unix milliseconds of all of them, 0: now."""
    kept: list[asyncio.Future[None]] = []

    def done(future: asyncio.Future[None], error: JournalError | None) -> None:
        future.set_result(None) if error is None else future.set_exception(error)

    for number in numbers:
        future = asyncio.get_running_loop().create_future()
        kept.append(future)
        payload = json.dumps({"type": kind.type_name, "event_id": str(number), "pad": "x" * size}).encode()
        journal.append_event(Event(number, kind, payload, time_ms=at), partial(done, future))
    await asyncio.gather(*kept)


async def dropped(journal: Journal, cursor: int) -> None:
    """Have events until those from this cursor on are no longer kept: the journal drops some now and then."""
    while journal.begin_cursor() <= cursor:
        await tell(journal, range(9000, 9001))


def ids(events: list[HoseEvent]) -> list[int]:
    """The event ids as consumers see them, in the payload."""
    assert all(str(event.message_id) == json.loads(event.payload)["event_id"] for event in events)
    return [event.message_id for event in events]


async def test_a_consumer_gets_every_event_in_order(journal: Journal, tmp_path: Path) -> None:
    await tell(journal, range(1, 251))
    consumer = await Hose(journal, tmp_path / "cursors").consumer("a", "begin")
    seen: list[int] = []
    while batch := (await consumer.next(limit=100, wait=0)).events:
        assert len(batch) <= 100
        seen += ids(batch)
    assert seen == list(range(1, 251))
    consumer.close()


async def test_what_was_not_acknowledged_comes_again(journal: Journal, tmp_path: Path) -> None:
    await tell(journal, range(1, 11))
    consumer = await Hose(journal, tmp_path / "cursors").consumer("a", "begin")
    first = await consumer.next(limit=4)
    await consumer.ack(first.cursor)
    second = await consumer.next(limit=4)
    consumer.close()
    again = await Hose(journal, tmp_path / "cursors").consumer("a", "begin")
    assert again.cursor == first.cursor
    batch = await again.next()
    assert ids(first.events) == [1, 2, 3, 4] and ids(batch.events) == [5, 6, 7, 8, 9, 10]
    assert batch.events[:4] == second.events
    again.close()


async def test_a_part_of_a_batch_can_be_acknowledged(journal: Journal, tmp_path: Path) -> None:
    await tell(journal, range(1, 11))
    hose = Hose(journal, tmp_path / "cursors")
    consumer = await hose.consumer("a", "begin")
    batch = await consumer.next()
    await consumer.ack(batch.events[6].next)
    consumer.close()
    assert ids((await (await hose.consumer("a")).next()).events) == [8, 9, 10]


async def test_a_new_consumer_begins_where_it_is_told(journal: Journal, tmp_path: Path) -> None:
    hose = Hose(journal, tmp_path / "cursors")
    await tell(journal, range(1, 4), at=1_000_000)
    await tell(journal, range(4, 7), at=2_000_000)
    late = await hose.consumer("late")
    await tell(journal, range(7, 9), at=3_000_000)
    everything = (await (await hose.consumer("early", "begin")).next()).events
    assert ids(everything) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert ids((await late.next()).events) == [7, 8]
    assert ids((await (await hose.consumer("timed", At(2000))).next()).events) == [4, 5, 6, 7, 8]
    assert ids((await (await hose.consumer("placed", everything[5].cursor)).next()).events) == [6, 7, 8]
    assert hose.names() == ["early", "late", "placed", "timed"]


async def test_a_consumer_waits_for_the_next_commit(journal: Journal, tmp_path: Path) -> None:
    consumer = await Hose(journal, tmp_path / "cursors").consumer("a")
    waiting = asyncio.ensure_future(consumer.next())
    await asyncio.sleep(0)
    await tell(journal, range(1, 2))
    assert ids((await waiting).events) == [1]
    assert (await consumer.next(wait=0)).events == []
    assert (await consumer.next(wait=0.01)).events == []
    waiting = asyncio.ensure_future(consumer.next(wait=60))
    await tell(journal, range(2, 3))
    assert ids((await waiting).events) == [2]


async def test_only_the_wanted_types(journal: Journal, tmp_path: Path) -> None:
    await tell(journal, range(1, 4), Kind.DELAY)
    await tell(journal, range(4, 5), Kind.BOUNCE)
    await tell(journal, range(5, 8), Kind.DELAY)
    hose = Hose(journal, tmp_path / "cursors")
    consumer = await hose.consumer("a", "begin", {Kind.BOUNCE, Kind.DELIVERY})
    batch = await consumer.next(limit=2)
    assert ids(batch.events) == [4]
    rest = await consumer.next(limit=2, wait=0)
    assert rest.events == [] and rest.cursor == journal.end_cursor()
    await consumer.ack(rest.cursor)
    assert consumer.cursor == journal.end_cursor()


async def test_replay(journal: Journal, tmp_path: Path) -> None:
    await tell(journal, range(1, 4), at=1_000_000)
    await tell(journal, range(4, 7), at=2_000_000)
    hose = Hose(journal, tmp_path / "cursors")
    consumer = await hose.consumer("a", "begin")
    first = await consumer.next()
    await consumer.ack(first.cursor)
    await consumer.replay(At(2000))
    assert (await consumer.next()).events == first.events[3:]
    await consumer.replay(first.events[1].cursor)
    consumer.close()
    again = await hose.consumer("a")
    assert (await again.next()).events == first.events[1:]
    await again.replay("end")
    assert (await again.next(wait=0)).events == []


async def test_what_cannot_be(journal: Journal, tmp_path: Path) -> None:
    await tell(journal, range(1, 4))
    hose = Hose(journal, tmp_path / "cursors")
    consumer = await hose.consumer("a", "begin")
    with pytest.raises(ConsumerError, match="consumer a is open already"):
        await hose.consumer("a")
    with pytest.raises(ConsumerError, match="consumer a is open"):
        await hose.forget("a")
    with pytest.raises(ConsumerError, match="lies beyond what was read"):
        await consumer.ack(journal.end_cursor())
    with pytest.raises(ConsumerError, match="is no name for a consumer"):
        await hose.consumer("../a")
    with pytest.raises(ConsumerError, match=f"there is no cursor {9 << 32}; the last one is {journal.end_cursor()}"):
        await consumer.replay(9 << 32)
    with pytest.raises(ConsumerError, match="there is no cursor"):
        await hose.consumer("b", 9 << 32)
    batch = await consumer.next()
    await consumer.ack(batch.cursor)
    await consumer.ack(batch.events[0].cursor)  # an older one than before takes nothing back
    assert consumer.cursor == batch.cursor
    consumer.close()
    await hose.forget("a")
    assert hose.names() == [] and not (tmp_path / "cursors" / "a").exists()


async def test_a_damaged_cursor_stops_its_consumer_and_nothing_else(journal: Journal, tmp_path: Path) -> None:
    hose = Hose(journal, tmp_path / "cursors")
    for name in ("a", "b"):
        (await hose.consumer(name)).close()
    (tmp_path / "cursors" / "a").write_bytes(b"")
    hose = Hose(journal, tmp_path / "cursors")
    (problem,) = hose.problems
    assert "cursors/a: the cursor can't be read" in problem
    with pytest.raises(ConsumerError, match="the cursor can't be read"):
        await hose.consumer("a")
    await tell(journal, range(1, 3))
    assert ids((await (await hose.consumer("b")).next()).events) == [1, 2]


async def test_a_new_journal_under_old_cursors(tmp_path: Path) -> None:
    (tmp_path / "cursors").mkdir()
    (tmp_path / "cursors" / "a").write_text(json.dumps({"cursor": 9 << 32 | 64}))
    journal = open_journal(tmp_path)
    await tell(journal, range(1, 3))
    hose = Hose(journal, tmp_path / "cursors")
    assert hose.problems == [f"consumer a: its cursor {9 << 32 | 64} is not of this journal; it begins anew"]
    batch = await (await hose.consumer("a")).next()
    assert ids(batch.events) == [1, 2] and batch.lost
    assert Hose(journal, tmp_path / "cursors").problems == []
    await journal.close()


async def test_nothing_is_lost_on_the_first_day(journal: Journal, tmp_path: Path) -> None:
    hose = Hose(journal, tmp_path / "cursors")
    consumers = [await hose.consumer("a"), await hose.consumer("b", "begin")]
    await tell(journal, range(1, 3))
    assert [(await consumer.next()).lost for consumer in consumers] == [False, False]


async def test_tail_follows(journal: Journal, tmp_path: Path) -> None:
    await tell(journal, range(1, 3))
    feed = Hose(journal, tmp_path / "cursors").tail("begin", {Kind.POLICY_REJECTION})
    seen = [await anext(feed), await anext(feed)]
    third = asyncio.ensure_future(anext(feed))
    await tell(journal, range(3, 4), Kind.DELAY)
    await tell(journal, range(4, 5))
    assert ids([*seen, await third]) == [1, 2, 4]
    await feed.aclose()
    assert not (tmp_path / "cursors").exists()


async def test_events_are_kept_for_a_consumer_that_nobody_has_opened_yet(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, SHORT)
    hose = Hose(journal, tmp_path / "cursors")
    consumer = await hose.consumer("a", "begin")
    await tell(journal, range(1, 101), size=4000)
    await consumer.ack((await consumer.next(limit=1)).cursor)
    consumer.close()
    await journal.close()

    journal = open_journal(tmp_path, SHORT)
    hose = Hose(journal, tmp_path / "cursors")
    await tell(journal, range(101, 201), size=4000)
    consumer = await hose.consumer("a")
    seen: list[int] = []
    while batch := await consumer.next(wait=0):
        assert not batch.lost
        if not batch.events:
            break
        seen += ids(batch.events)
    assert seen == list(range(2, 201))
    # Once it has moved on, its past may go.
    await consumer.ack(journal.end_cursor())
    begin = journal.begin_cursor()
    await dropped(journal, begin)
    await journal.close()


async def test_a_consumer_that_lags_too_far_is_told_of_its_loss(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, JournalOptions(segment_size=Size(1 << 16), event_retention_size=Size(1 << 18)))
    consumer = await Hose(journal, tmp_path / "cursors").consumer("a", "begin")
    await tell(journal, range(1, 11), size=4000)
    assert not (await consumer.next(limit=1)).lost
    for start in range(11, 311, 10):
        await tell(journal, range(start, start + 10), size=4000)
    await dropped(journal, consumer.cursor)
    batch = await consumer.next(limit=10)
    assert batch.lost and batch.events[0].message_id > 2
    assert not (await consumer.next(limit=10)).lost
    await journal.close()


CHILD = """
import asyncio, sys
from pathlib import Path
from tests.events.test_hose import open_journal, Hose

async def main() -> None:
    path = Path(sys.argv[1])
    consumer = await Hose(open_journal(path), path / "cursors").consumer("a", "begin")
    while True:
        batch = await consumer.next(limit=3, wait=0)
        if not batch.events:
            await consumer.replay("begin")
            print("again", flush=True)
            continue
        print("got", *[event.message_id for event in batch.events], flush=True)
        await consumer.ack(batch.cursor)
        print("acked", batch.cursor, flush=True)

asyncio.run(main())
"""


def read_and_kill(path: Path, count: int) -> list[str]:
    """What a consumer in another process printed until it was killed, some time after its line number `count`."""
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(count)]
        os.kill(child.pid, signal.SIGKILL)
        return lines + child.stdout.readlines()


@pytest.mark.parametrize("seed", range(6))
async def test_a_cursor_survives_kill_9(tmp_path: Path, seed: int) -> None:
    journal = open_journal(tmp_path)
    await tell(journal, range(1, 500))
    await journal.close()
    lines = read_and_kill(tmp_path, Random(seed).randrange(1, 60))
    acked = [int(line.split()[1]) for line in lines if line.startswith("acked") and line.endswith("\n")]
    got = [
        int(number) for line in lines if line.startswith("got") and line.endswith("\n") for number in line.split()[1:]
    ]
    assert got == list(range(1, len(got) + 1)) and "again\n" not in lines

    journal = open_journal(tmp_path)
    consumer = await Hose(journal, tmp_path / "cursors").consumer("a", "begin")
    # What was reported as acknowledged stands; at most the one acknowledgement under way may be beyond it.
    assert consumer.cursor >= (acked[-1] if acked else 0)
    following = (await consumer.next(limit=1)).events[0].message_id
    assert 3 * len(acked) + 1 <= following <= 3 * len(acked) + 4
    await journal.close()


async def test_another_process_reads_the_files(journal: Journal, tmp_path: Path) -> None:
    await tell(journal, range(1, 4), Kind.DELAY)
    await tell(journal, range(4, 6), Kind.BOUNCE)
    reader = EventReader(tmp_path / "journal")
    everything = list(tail(reader, find(reader, "begin")))
    assert ids(everything) == [1, 2, 3, 4, 5]
    assert ids(list(tail(reader, everything[2].cursor))) == [3, 4, 5]
    assert ids(list(tail(reader, everything[2].next, {Kind.BOUNCE}))) == [4, 5]
    assert ids(list(tail(reader, find(reader, At(0))))) == [1, 2, 3, 4, 5]
    assert list(tail(reader, find(reader, "end"))) == []
    assert find(reader, everything[4].next) == everything[4].next
    with pytest.raises(ValueError, match="there is no cursor"):
        find(reader, everything[4].next + 1)

    polls = 0

    def pause() -> None:
        nonlocal polls
        polls += 1

    following = tail(reader, everything[3].cursor, pause=pause)
    assert ids([next(following), next(following)]) == [4, 5] and polls == 0
