"""Moving queued mail between journals, step by step; tests/scenarios/test_engines_changed.py kills real ones."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from random import Random

from postroad.config import parse
from postroad.config.schema import Config
from postroad.journal import EventReader, JournalError, audit_all, journal_folder
from postroad.message import Accepted, Body, IdSource, Recipient, Refused, Transaction
from postroad.net import DnsResolver, SystemClock
from postroad.queue import Where
from postroad.queue.jobs import About, Job, Phase, owner_of_key
from postroad.serve.engine import Engine
from postroad.serve.homes import Homes, read_homes, write_homes
from postroad.serve.owner import owner
from postroad.serve.rehome import rehome

CONFIG = """
[server]
hostname = "postroad.test"
engines = {engines}
[http]
address = ""
[delivery]
suspend_delivery = true
[dns]
servers = ["127.0.0.1:1"]
[journal]
segment_size = "64KB"
min_free = "1MB"
"""
DOMAINS = [f"d{number}.test" for number in range(20)]


def config(engines: int) -> Config:
    return parse(CONFIG.format(engines=engines)).config


async def run(folder: Path, number: int, engines: int, domains: list[list[str]]) -> dict[int, str]:
    """An engine's life: it takes one transaction for each list of domains. Returns what it has in its queue."""
    rng = Random(number)
    resolver = DnsResolver(config(engines).dns, rng=rng)
    # One engine alone, so that mail stays where we put it.
    engine = Engine(config(engines), folder, clock=SystemClock(), resolver=resolver, rng=rng, number=number)
    await engine.start()
    await engine.recovered()
    loop = asyncio.get_running_loop()
    for some in domains:
        done: asyncio.Future[Accepted | Refused] = loop.create_future()
        recipients = [Recipient(f"r{at}@{domain}", domain) for at, domain in enumerate(some)]
        body = Body(b"Subject: " + b"x" * rng.randrange(3000) + b"\r\n\r\nx\r\n")
        engine.acceptor.accept(Transaction("s@sender.test", recipients, body), done.set_result)
        assert isinstance(await done, Accepted)
    found = {one.id: one.domain for one in engine.queue.listing(Where(), 1000)}
    await engine.stop()
    await resolver.close()
    return found


def check(folder: Path, *, accepted: int, queued: int) -> None:
    total, each = audit_all(folder)
    assert total.clean and all(one.clean for one in each.values()), each
    assert (total.accepted, total.queued, total.homed_in) == (accepted, queued, total.homed_out)


async def test_everything_comes_to_its_owner_and_back(tmp_path: Path) -> None:
    mail = await run(tmp_path, 0, 1, [DOMAINS[:7], *([domain] for domain in DOMAINS), DOMAINS[3:9]])
    for engines in (3, 1, 4, 2, 1, 3):
        moved = await rehome(config(engines), tmp_path, SystemClock())
        assert read_homes(tmp_path) == Homes(engines) and moved.total()
        check(tmp_path, accepted=len(mail), queued=len(mail))
        found: dict[int, str] = {}
        for number in range(engines):
            some = await run(tmp_path, number, engines, [])
            assert all(owner(domain, engines) == number for domain in some.values())
            found |= some
        assert found == mail
        assert not await rehome(config(engines), tmp_path, SystemClock())  # all is in order


async def with_keys(folder: Path, number: int, engines: int, keys: list[str]) -> dict[str, Job]:
    """An engine's life: it makes one mailing for each of these keys. Returns the jobs that it knows then."""
    rng = Random(number)
    http = parse(CONFIG.format(engines=engines).replace('address = ""', 'address = "127.0.0.1:0"')).config
    resolver = DnsResolver(http.dns, rng=rng)
    engine = Engine(http, folder, clock=SystemClock(), resolver=resolver, rng=rng, number=number)
    await engine.start()
    await engine.recovered()
    jobs, ids = engine.queue.jobs, IdSource(SystemClock().wall, number)
    content = {"from": "a@sender.test", "subject": "s", "text": "hello"}
    for key in keys:
        kept: asyncio.Future[Job | JournalError] = asyncio.get_running_loop().create_future()
        request = json.dumps({"recipients": ["a@d1.test", "b@d2.test"], "content": content}).encode()
        number_of = ids.next()
        about = About(2, key=key, reply=b'{"id":"%d"}' % number_of)
        jobs.create(number_of, about, request, kept.set_result)
        assert isinstance(await kept, Job)
    while any(not job.over for job in jobs):
        committed = asyncio.Event()
        end = engine.journal.on_commit(committed.set)
        await committed.wait()
        end()
    found = {job.about.key: job for job in jobs}
    await engine.stop()
    await resolver.close()
    return found


async def test_a_mailing_that_is_over_goes_where_its_key_is_asked_for(tmp_path: Path) -> None:
    keys = [f"order-{number}" for number in range(12)]
    before = await with_keys(tmp_path, 0, 1, keys)
    for engines in (3, 2, 1):
        await rehome(config(engines), tmp_path, SystemClock())
        check(tmp_path, accepted=3 * len(keys), queued=3 * len(keys))
        after: dict[str, Job] = {}
        for number in range(engines):
            some = await with_keys(tmp_path, number, engines, [])
            assert all(owner_of_key(key.encode(), engines) == number for key in some)
            after |= some
        assert after.keys() == before.keys()
        for key, job in after.items():
            was = before[key]
            assert (job.number, job.phase, job.about.reply) == (was.number, Phase.SUCCESS, was.about.reply)
            # The event that told it was written some milliseconds later.
            assert abs(job.about.ended - was.about.ended) < 5.0


async def test_a_move_that_was_cut_short_between_the_two_journals(tmp_path: Path) -> None:
    """The new journals have the mail, and the old one does not know yet that it is gone."""
    mail = await run(tmp_path, 0, 1, [[domain] for domain in DOMAINS])
    shutil.copytree(tmp_path / "journal", tmp_path / "before")
    await rehome(config(3), tmp_path, SystemClock())
    for engines in (3, 2, 1):
        shutil.rmtree(tmp_path / "journal")
        shutil.copytree(tmp_path / "before", tmp_path / "journal")
        write_homes(tmp_path, Homes(1, moving=True))
        total, each = audit_all(tmp_path)
        assert total.clean and all(one.clean for one in each.values())
        assert total.queued > len(mail)
        await rehome(config(engines), tmp_path, SystemClock())
        found: list[int] = []
        for number in range(engines):
            found += await run(tmp_path, number, engines, [])
        assert sorted(found) == sorted(mail)
        if engines > 1:
            for number in (1, 2):
                shutil.rmtree(journal_folder(tmp_path, number))
            shutil.rmtree(tmp_path / "journal")
            shutil.copytree(tmp_path / "before", tmp_path / "journal")
            write_homes(tmp_path, Homes(1))
            await rehome(config(3), tmp_path, SystemClock())


async def test_mail_that_can_not_be_read_in_a_journal_nobody_has_any_more_comes_to_its_end(tmp_path: Path) -> None:
    mail = await run(tmp_path, 1, 2, [[domain] for domain in DOMAINS[:3]])
    (segment,) = journal_folder(tmp_path, 1).glob("mail-*.seg")
    data = bytearray(segment.read_bytes())
    at = data.index(b"Subject: ", data.index(b"Subject: ") + 1)  # of the second one
    data[at : at + 3] = b"???"
    segment.write_bytes(data)
    moved = await rehome(config(1), tmp_path, SystemClock())
    assert moved == {0: 2}
    check(tmp_path, accepted=3, queued=2)
    (lost,) = mail.keys() - (await run(tmp_path, 0, 1, [])).keys()
    reader = EventReader(journal_folder(tmp_path, 1))
    some, _ = reader.read(reader.begin())
    ends = [json.loads(event.payload) for event in some if event.message_id == lost]
    assert [end["type"] for end in ends] == ["injection", "bounce"]
    assert "could not be read back" in ends[-1]["raw_reason"]
