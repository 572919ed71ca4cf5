"""A transmission that waits goes on with the template, A/B test and list it was accepted with: they may be gone or
changed when its time comes, and the engine started again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

import pytest

from postroad.api.body import Budget
from postroad.api.transmissions import Injection
from postroad.events import Kind
from postroad.inject.http import (
    Failure,
    Named,
    StoredTemplate,
    Tracking,
    TransmissionContent,
    decode,
    pack_request,
    unpack_request,
)
from postroad.lab.sim.loop import SimLoop
from postroad.message import Accepted, Refused, Rejection, Reply, Transaction
from postroad.queue.jobs import Phase
from tests.inject.http.stock import MemoryStock
from tests.journal.kit import MortalDisk
from tests.serve.test_generation_crash import Life

BEGIN = 1_700_000_000.0  # wall time at which the first life begins
DUE = BEGIN + 3600
HEADERS = {"content-type": "application/json"}


class Told(NamedTuple):
    """Of an injection event."""

    address: str
    subject: str
    template: str
    version: str
    meta: dict[str, object]


class NeverAccepted:
    """Nothing is to be made before the time has come."""

    def refusal(self) -> Reply | None:
        return None

    def rejected(self, rejection: Rejection) -> None:
        raise AssertionError(rejection)

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        raise AssertionError("a message was made too early")


def template(identifier: str, version: int, subject: str) -> StoredTemplate:
    content = TransmissionContent(sender="shop@sender.test", subject=subject, html="<p>Hello {{name}}</p>")
    return StoredTemplate(identifier, version, content, Tracking(click_tracking=False), True)


def full() -> MemoryStock:
    stock = MemoryStock()
    stock.templates["spring", False] = template("spring", 3, "Spring, {{name}}")
    stock.templates["spring", True] = template("spring", 4, "A draft, {{name}}")
    stock.tests["which"] = "spring"
    stock.lists["vip"] = unpack_list(["a@d1.test", {"address": "b@d2.test", "metadata": {"tier": "gold"}}])
    return stock


def unpack_list(entries: list[Any]) -> list[Any]:
    found = unpack_request(json.dumps({"recipients": entries, "content": {}}).encode()).decoded.transmission.recipients
    assert isinstance(found, list)
    return found


def changed() -> MemoryStock:
    """Everything has other content."""
    stock = MemoryStock()
    stock.templates["spring", False] = template("spring", 9, "Autumn, {{name}}")
    stock.templates["spring", True] = template("spring", 10, "Winter, {{name}}")
    stock.tests["which"] = "other"
    stock.lists["vip"] = ["x@d1.test", "y@d1.test", "z@d1.test"]
    return stock


def run(loop: SimLoop, main: Coroutine[Any, Any, None]) -> None:
    try:
        loop.run_until_complete(main)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def request(content: Mapping[str, object], recipients: object) -> bytes:
    start = datetime.fromtimestamp(DUE, UTC).isoformat()
    data = {"name": "Mara"}
    return json.dumps(
        {
            "content": content,
            "recipients": recipients,
            "options": {"start_time": start},
            "substitution_data": data,
        }
    ).encode()


def injections(life: Life) -> list[Told]:
    cursor = life.journal.begin_cursor()
    found: list[Told] = []
    while True:
        events, cursor = life.journal.read_events(cursor)
        if not events:
            return found
        for event in events:
            assert event.kind in (0, Kind.INJECTION, Kind.DELIVERY), event.payload
            if event.kind == Kind.INJECTION:
                told = json.loads(event.payload)
                names = ("rcpt_to", "subject", "template_id", "template_version", "rcpt_meta")
                found.append(Told(*(told[name] for name in names)))


def through_a_restart(body: bytes, stock: MemoryStock) -> list[Told]:
    """Accepted while everything is there; then the engine ends, and starts again with `stock`."""
    disk = MortalDisk(Random(0))
    rng = Random(1)
    told: list[Told] = []

    async def before() -> None:
        life = Life(disk, loop, rng, full(), BEGIN - loop.time())
        await life.queue.recover()
        budget = Budget(1 << 20)
        injection = Injection(NeverAccepted(), life.clock, life.setting, 1 << 20, budget, jobs=life.queue.jobs)

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": body, "more_body": False}

        answer = await injection.create(receive, HEADERS, {}, {})
        assert answer["results"]["total_rejected_recipients"] == 0
        life.generation.start()
        await asyncio.sleep(60)
        await life.generation.stop()
        life.journal.abandon()

    async def after() -> None:
        life = Life(disk, loop, rng, stock, DUE - 10 - loop.time())
        await life.queue.recover()
        life.generation.start()
        await asyncio.sleep(5)
        assert injections(life) == []
        await asyncio.sleep(60)
        await life.generation.stop()
        assert [job.phase for job in life.queue.jobs] == [Phase.SUCCESS]
        told.extend(injections(life))
        life.journal.abandon()

    loop = SimLoop(rng)
    run(loop, before())
    disk.revive(power=True)
    loop = SimLoop(rng)
    run(loop, after())
    return sorted(told)


@pytest.mark.parametrize("stock", [MemoryStock, changed], ids=["gone", "changed"])
@pytest.mark.parametrize(
    ("content", "subject", "version"),
    [
        ({"template_id": "spring"}, "Spring, Mara", "3"),
        ({"template_id": "spring", "use_draft_template": True}, "A draft, Mara", "4"),
        ({"ab_test_id": "which"}, "Spring, Mara", "3"),
    ],
)
def test_a_template(content: dict[str, object], subject: str, version: str, stock: Callable[[], MemoryStock]) -> None:
    told = through_a_restart(request(content, ["a@d1.test"]), stock())
    assert told == [Told("a@d1.test", subject, "spring", version, {})]


@pytest.mark.parametrize("stock", [MemoryStock, changed], ids=["gone", "changed"])
def test_a_list(stock: Callable[[], MemoryStock]) -> None:
    content = {"from": "shop@sender.test", "subject": "Hello", "text": "t"}
    told = through_a_restart(request(content, {"list_id": "vip"}), stock())
    assert [(each.address, each.meta) for each in told] == [("a@d1.test", {}), ("b@d2.test", {"tier": "gold"})]


def test_a_template_and_a_list_that_are_gone() -> None:
    told = through_a_restart(request({"template_id": "spring"}, {"list_id": "vip"}), MemoryStock())
    assert [(each.address, each.subject) for each in told] == [
        ("a@d1.test", "Spring, Mara"),
        ("b@d2.test", "Spring, Mara"),
    ]


def test_a_request_that_names_nothing_is_kept_as_it_came() -> None:
    body = request({"from": "a@sender.test", "subject": "s", "text": "t"}, ["a@d1.test"])
    assert pack_request(body, Named()) == body
    assert unpack_request(body).named == Named()


def test_no_client_can_write_what_is_kept() -> None:
    """The octet that marks a record with objects is no JSON."""
    record = pack_request(b"{}", Named(None, ["a@d1.test"]))
    assert unpack_request(record).named.recipients == ["a@d1.test"]
    with pytest.raises(Failure):
        decode(record)
