"""Hand-over between engines: two real engines in this process, their sockets, and an engine that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import parse
from postroad.message import Accepted, Body, Notify, Recipient, Refused, Ret, Transaction
from postroad.net import DnsResolver, SystemClock
from postroad.queue import Where
from postroad.serve.engine import Engine
from postroad.serve.handed import LENGTHS, Answer, pack, pack_answer, unpack
from postroad.serve.handover import handover_socket
from postroad.serve.owner import owner
from tests.scenarios.inside import soon

CONFIG = """
[server]
hostname = "postroad.test"
[http]
address = ""
[delivery]
suspend_delivery = true
[dns]
servers = ["127.0.0.1:1"]
[[provider]]
name = "big"
mx_suffixes = ["big.test"]
rollup = true
[journal]
segment_size = "64KB"
min_free = "1MB"
[queue]
max_queued = {most}
"""
OURS = next(f"d{n}.test" for n in range(99) if owner(f"d{n}.test", 2) == 0)
THEIRS = next(f"d{n}.test" for n in range(99) if owner(f"d{n}.test", 2) == 1)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
contexts = st.dictionaries(texts, texts, max_size=3)
values: st.SearchStrategy[object] = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts | st.lists(texts)
events = st.dictionaries(texts, values, max_size=3)


@st.composite
def transactions(draw: st.DrawFn) -> Transaction:
    recipients = [
        Recipient(
            draw(texts),
            draw(texts),
            notify=draw(st.sampled_from(Notify)),
            orcpt=draw(texts),
            context=draw(st.none() | contexts),
            event=draw(st.none() | events),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    return Transaction(
        draw(texts),
        recipients,
        Body(draw(st.binary(max_size=200)), draw(st.binary(max_size=50))),
        connection=draw(contexts),
        context=draw(contexts),
        method=draw(texts),
        ret=draw(st.sampled_from(Ret)),
        envid=draw(texts),
        smtputf8=draw(st.booleans()),
        event=draw(events),
        id=draw(st.integers(0, 2**64 - 1)),
    )


def everything(thing: object) -> object:
    """All that a transaction, recipient or body holds."""
    slots = getattr(type(thing), "__slots__", None)
    if slots is not None and type(thing).__module__.startswith("postroad."):
        return {name: everything(getattr(thing, name)) for name in slots}
    return [everything(one) for one in thing] if isinstance(thing, list) else thing


@given(transactions(), st.integers(0, 2**63))
def test_a_transaction_arrives_as_it_was(transaction: Transaction, sequence: int) -> None:
    """Everything it holds: a slot that is added to the model and forgotten in the hand-over shows here."""
    data = b"".join(pack(sequence, transaction))
    head, trace, content = LENGTHS.unpack_from(data)
    at = LENGTHS.size
    assert len(data) == at + head + trace + content
    found, arrived = unpack(data[at : at + head], data[at + head : at + head + trace], data[at + head + trace :])
    assert found == sequence
    assert everything(arrived) == everything(transaction)


@asynccontextmanager
async def engine(folder: Path, number: int, *, most: int = 0) -> AsyncIterator[Engine]:
    config = parse(CONFIG.format(most=most)).config
    rng = Random(number)
    clock = SystemClock()
    resolver = DnsResolver(config.dns, rng=rng)
    found = Engine(config, folder, clock=clock, resolver=resolver, rng=rng, number=number, engines=2)
    await found.start()
    await found.recovered()
    try:
        yield found
    finally:
        await found.stop()
        await resolver.close()


async def accepted(engine: Engine, *domains: str, number: int = 0) -> list[int]:
    result = await handed(engine, *domains, number=number)
    assert isinstance(result, Accepted)
    return result.ids


async def handed(engine: Engine, *domains: str, number: int = 0) -> Accepted | Refused:
    done: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()
    recipients = [Recipient(f"r{at}@{domain}", domain) for at, domain in enumerate(domains)]
    body = Body(b"Subject: x\r\n\r\n.x\r\n", b"Received: here\r\n")
    engine.acceptor.accept(Transaction("s@sender.test", recipients, body, id=number), done.set_result)
    return await asyncio.wait_for(done, 20)


async def both_know(*engines: Engine) -> None:
    await soon(lambda: all(each.stats().joined == 1 for each in engines), "the engines know each other")


def queued(engine: Engine) -> set[int]:
    return {one.id for one in engine.queue.listing(Where(), 100)}


async def test_each_part_goes_to_its_owner_and_the_ids_come_in_order(tmp_path: Path) -> None:
    async with engine(tmp_path, 0) as ours, engine(tmp_path, 1) as theirs:
        await both_know(ours, theirs)
        ids = await accepted(ours, THEIRS, OURS, THEIRS, number=77)
        assert ids[0] == 77 and len(set(ids)) == 3
        assert (queued(theirs), queued(ours)) == ({ids[0], ids[2]}, {ids[1]})
        message = await theirs.queue.envelope(ids[2])
        assert message is not None and message.body is not None
        assert (message.recipient, message.sender) == (f"r2@{THEIRS}", "s@sender.test")
        assert bytes(message.body) == b"Received: here\r\nSubject: x\r\n\r\n.x\r\n"
        assert message.body.dotted
        (own,) = await accepted(theirs, THEIRS, number=78)
        assert own == 78 and own in queued(theirs)


async def test_without_its_owner_mail_stays_where_it_came(tmp_path: Path) -> None:
    async with engine(tmp_path, 0) as ours:
        assert await accepted(ours, THEIRS, OURS, number=77) == sorted(queued(ours))
        async with engine(tmp_path, 1) as theirs:
            await both_know(ours, theirs)
            (handed_over,) = await accepted(ours, THEIRS)
            assert queued(theirs) == {handed_over}
        (stray,) = await accepted(ours, THEIRS, number=99)
        assert stray == 99 and stray in queued(ours)


@pytest.mark.parametrize("trouble", ["full", "stopping"])
async def test_an_owner_that_refuses_leaves_it_to_us(tmp_path: Path, trouble: str) -> None:
    async with engine(tmp_path, 0) as ours, engine(tmp_path, 1, most=1) as theirs:
        await both_know(ours, theirs)
        await accepted(theirs, THEIRS)
        if trouble == "stopping":
            theirs.queue.stop()
        ids = await accepted(ours, THEIRS, OURS, number=77)
        assert ids[0] == 77 and set(ids) == queued(ours)
        assert len(queued(theirs)) == 1


async def test_when_we_are_full_ourselves_nothing_is_handed_over(tmp_path: Path) -> None:
    async with engine(tmp_path, 0, most=1) as ours, engine(tmp_path, 1) as theirs:
        await both_know(ours, theirs)
        await accepted(ours, OURS)
        result = await handed(ours, THEIRS)
        assert isinstance(result, Refused) and result.reply.code == 452
        assert not queued(theirs)


async def test_a_connection_that_breaks_before_the_answer_makes_another_message(tmp_path: Path) -> None:
    """Nobody knows whether it was kept over there, so the id must not be used twice."""
    (tmp_path / "run").mkdir()
    got: list[bytes] = []

    async def read_and_hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(pack_answer(Answer(0, [])))
        head, trace, content = LENGTHS.unpack(await reader.readexactly(LENGTHS.size))
        got.append(await reader.readexactly(head + trace + content))
        writer.close()

    bad = await asyncio.start_unix_server(read_and_hang_up, tmp_path / "run" / handover_socket(1))
    async with bad, engine(tmp_path, 0) as ours:
        await both_know(ours)
        (number,) = await accepted(ours, THEIRS, number=77)
        assert number != 77 and queued(ours) == {number}
        assert b"s@sender.test" in got[0]


async def test_what_is_no_transaction_ends_the_connection_alone(tmp_path: Path) -> None:
    async with engine(tmp_path, 0) as ours, engine(tmp_path, 1) as theirs:
        await both_know(ours, theirs)
        reader, writer = await asyncio.open_unix_connection(tmp_path / "run" / handover_socket(1))
        junk = msgspec.msgpack.encode(["no", "transaction"])
        await reader.readexactly(len(pack_answer(Answer(0, []))))  # the greeting
        writer.write(LENGTHS.pack(len(junk), 0, 0) + junk)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        (number,) = await accepted(ours, THEIRS)
        assert queued(theirs) == {number}


async def test_an_engine_that_does_not_greet_is_handed_nothing(tmp_path: Path) -> None:
    """The system takes connections for a process that is stuck."""
    (tmp_path / "run").mkdir()
    come: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        come.put_nowait(writer)

    stuck = await asyncio.start_unix_server(say_nothing, tmp_path / "run" / handover_socket(1))
    async with stuck, engine(tmp_path, 0) as ours:
        writer = await asyncio.wait_for(come.get(), 30)
        (number,) = await accepted(ours, THEIRS, number=77)
        assert number == 77 and queued(ours) == {77}
        writer.close()


async def test_what_one_engine_learns_of_a_domain_all_know(tmp_path: Path) -> None:
    """A look-up on one engine moves the ownership of a domain to its provider's engine, on all of them, and back."""
    async with engine(tmp_path, 0) as first, engine(tmp_path, 1) as second:
        both = [each.handover for each in (first, second) if each.handover is not None]
        await soon(lambda: [each.joined for each in both] == [1, 1], "they know each other")
        provider = owner("provider big", 2)
        domain = next(f"d{n}.test" for n in range(99) if owner(f"d{n}.test", 2) != provider)
        assert {each.router.owners.of(domain) for each in both} == {1 - provider}
        first.limits.located(domain, ["mx.big.test"])
        await soon(lambda: {each.router.owners.of(domain) for each in both} == {provider}, "both know")
        second.limits.located(domain, ["mx.elsewhere.test"])
        await soon(lambda: {each.router.owners.of(domain) for each in both} == {1 - provider}, "both know better")
