"""Whole worlds with a toy engine: a right one passes under every weather, and each flaw is found."""

from __future__ import annotations

import subprocess
import sys

import pytest

from postroad.lab.sim import Act, Broken, Storm, World, Writer, judge, until, worst
from tests.lab.toy import ToyDisk, ToyEngine

DOMAINS = ["one.test", "two.test", "home.test"]


def play(seed: int, flaw: str = "") -> str:
    """Ten letters through a storm, then calm weather until all is done. Returns the trace's digest."""
    disk = ToyDisk()
    with World(seed, disk, lambda world, process: ToyEngine(world, process, disk, flaw)) as world:
        world.run(scenario(world))
    verdict = judge(
        [submission for sender in world.senders for submission in sender.submissions],
        [arrival for receiver in world.receivers for arrival in receiver.arrivals],
        worst((to, end) for (_, to), end in disk.ends().items()),
        world.crashes,
    )
    world.check(verdict.findings)
    return world.trace.digest()


async def scenario(world: World) -> None:
    rng = world.rng("scenario")
    for number, domain in enumerate(DOMAINS):
        await world.receiver(domain, f"198.51.100.{number + 1}")
    storm = Storm(world, seconds=300)
    storm.rise()
    await world.start_engine()
    letters = Writer(rng, [*DOMAINS, "gone.test"])
    senders = [world.sender(f"client{n}", f"203.0.113.{n}", "192.0.2.1", 25) for n in (1, 2)]
    for sender in senders:
        sender.give_up = 0.02
        sender.pipelining = rng.random() < 0.5
    sending = [sender.send([letters.letter() for _ in range(5)]) for sender in senders]
    await storm.blow()
    storm.calm()
    assert await until(lambda: all(task.done() for task in sending), limit=30_000)
    await until(lambda: False, limit=600)
    await world.stop_engine()


def test_a_right_engine_passes_every_weather() -> None:
    for seed in range(150):
        play(seed)


@pytest.mark.parametrize(
    ("flaw", "finding"),
    [
        ("does not sync", "lost|never accepted"),
        ("forgets what was done", "sent once more"),
        ("keeps nothing of big mail", "lost"),
        ("forgets to stuff dots", "arrived changed|delivered, and the engine knows nothing|and its sender"),
        ("asks twice", "sent once more"),
        ("tells nobody", "never told"),
        ("leaves a timer", "left open by the stopped engine: timer"),
    ],
)
def test_each_flaw_is_found(flaw: str, finding: str) -> None:
    with pytest.raises(Broken, match=finding) as caught:
        for seed in range(500):
            play(seed, flaw)
    with pytest.raises(Broken) as again:
        play(caught.value.seed, flaw)
    assert str(again.value) == str(caught.value)


def test_the_same_seed_gives_the_same_trace_and_others_differ() -> None:
    digests = [play(seed) for seed in range(20)]
    assert len(set(digests)) == 20
    assert [play(seed) for seed in range(20)] == digests


def test_the_trace_does_not_depend_on_the_hash_seed() -> None:
    code = "from tests.lab.test_sim_world import play; print(play(7))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {f"{play(7)}\n".encode()}


def test_an_exception_in_a_callback_breaks_the_world() -> None:
    disk = ToyDisk()
    with World(1, disk, lambda world, process: ToyEngine(world, process, disk)) as world:

        async def main() -> None:
            await world.start_engine()
            world.loop.call_soon(int, "x")
            await world.stop_engine()

        world.run(main())
    with pytest.raises(Broken, match="invalid literal for int"):
        world.check([])


def test_receivers_do_what_they_are_told() -> None:
    """A deferral at each step is a deferral: tried again, delivered once."""
    disk = ToyDisk()
    with World(5, disk, lambda world, process: ToyEngine(world, process, disk)) as world:
        steps = ["final", "data", "rcpt", "mail", "ehlo", "banner"]

        async def main() -> None:
            receiver = await world.receiver("one.test", "198.51.100.1")
            receiver.decide = lambda step, argument: (
                Act("reply", "451 4.3.0 later") if steps and step == steps[0] and steps.pop(0) else None
            )
            await world.start_engine()
            sender = world.sender("client", "203.0.113.1", "192.0.2.1", 25)
            await sender.send([Writer(world.rng("letters"), ["one.test"]).letter()])
            recipients = len(sender.submissions[0].letter.recipients)
            await until(lambda: sum(arrival.accepted for arrival in receiver.arrivals) == recipients, limit=300)
            await until(lambda: False, limit=100)
            await world.stop_engine()
            copies = [arrival.accepted for arrival in receiver.arrivals]
            assert copies == [False] + [True] * recipients
            assert receiver.sessions == recipients + 6

        world.run(main())
        world.check([])
