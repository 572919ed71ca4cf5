"""Trouble for a world, drawn from its seed: bad weather for a while, accidents in it, and then calm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from postroad.lab.sim.net import Weather
from postroad.lab.sim.process import ProcessDied, ProcessKilled
from postroad.lab.sim.receiver import Act, Manner, Step
from postroad.lab.sim.world import World


@dataclass
class Storm:
    """seconds: how long it blows; pause: mean seconds between accidents. others: more kinds of accident. start_errors:
    with these an engine may refuse to start, and is started again a while later. log: the accidents, in words."""

    world: World
    seconds: float = 600.0
    pause: float = 60.0
    others: tuple[Callable[[], Awaitable[None]], ...] = ()
    start_errors: tuple[type[Exception], ...] = ()
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = self.world.rng("storm")
        kinds = [
            self._crash,
            self._restart,
            self._cut,
            self._power,
            self._names_gone,
            self._clock,
            self._freeze,
            *self.others,
        ]
        # A few kinds a world, so that each gets to happen often, and next to itself.
        self._kinds = self.rng.sample(kinds, self.rng.randint(1, 4))

    def rise(self) -> None:
        """Choose the weather and how the receivers behave. Most worlds have few kinds of trouble, some have many."""
        rng, world = self.rng, self.world
        some = rng.choice((0.0, 0.1, 0.3, 0.7))

        def chance(most: float) -> float:
            return rng.random() * most if rng.random() < some else 0.0

        world.net.weather = Weather(
            latency=rng.choice(((0.0001, 0.001), (0.001, 0.05), (0.05, 0.5))),
            jitter=rng.choice((0.0, 0.01, 0.3)),
            window=rng.choice(((500, 3000), (2000, 200_000), (200_000, 200_000))),
            refuse=chance(0.2),
            unreachable=chance(0.1),
            black_hole=chance(0.1),
            reset=chance(0.3),
            stall=chance(0.1),
            close=chance(0.2),
        )
        world.resolver.failure_chance = chance(0.3)
        for receiver in world.receivers:
            receiver.decide = Manner(
                rng,
                defer=chance(0.15),
                refuse=chance(0.1),
                reset=chance(0.05),
                close=chance(0.05),
                stall=chance(0.02),
                nonsense=chance(0.02),
                leave=chance(0.05),
                slow=chance(0.2),
            )
            offered = [name for name in receiver.extensions if rng.random() < 0.8]
            receiver.extensions = tuple(offered) or ("HELP",)

    async def blow(self) -> None:
        """Accidents until the time is over. The engine runs when this returns."""
        loop = self.world.loop
        end = loop.time() + self.seconds
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / self.pause))
            if loop.time() >= end:
                break
            await self._accident()
        await self.ensure_running()

    def calm(self) -> None:
        """Fine weather, everybody behaves, everything answers."""
        world = self.world
        world.net.weather = Weather()
        world.net.clear_rules()
        world.net.mend()
        world.resolver.recover()
        for receiver in world.receivers:
            receiver.decide = _behave

    # --- accidents ----------------------------------------------------------------------------------------------------

    async def _accident(self) -> None:
        await self.rng.choice(self._kinds)()

    async def _crash(self) -> None:
        """At one of the next things that happen, so that busy moments are hit more often than idle ones."""
        world, rng = self.world, self.rng
        if not world.running:
            return
        count = 1 + int(rng.random() ** 2 * 300)
        self._say(f"crash at the {count}th event from now")
        world.crash_after(count)
        if not await world.crashed(within=rng.random() * 2 * self.pause):
            world.crash_engine()
        await asyncio.sleep(rng.choice((0.0, 1.0, 20.0)) * rng.random())
        await self.ensure_running()

    async def _restart(self) -> None:
        if not self.world.running:
            return
        self._say("orderly restart")
        if self.rng.random() < 0.2:
            self.world.crash_after(1 + self.rng.randrange(20))
        try:
            await self.world.stop_engine()
        except (ProcessDied, ProcessKilled):
            self._say("it crashed while it stopped")
        await asyncio.sleep(self.rng.random() * 5)
        await self.ensure_running()

    async def ensure_running(self) -> None:
        """Start the engine, until it runs."""
        while not self.world.running:
            try:
                if self.rng.random() < 0.2:
                    self.world.crash_after(1 + self.rng.randrange(100))
                await self.world.start_engine()
            except (ProcessDied, ProcessKilled):
                self._say("it crashed while it started")
            except self.start_errors as error:
                self._say(f"it did not start: {type(error).__name__}")
                await asyncio.sleep(1.0)
        self.world.crash_after(0)

    async def _cut(self) -> None:
        address = self._address()
        self._say(f"{address} is cut off")
        self.world.net.cut(address)
        self._later(self.world.net.heal, address)

    async def _power(self) -> None:
        address = self._address()
        if address in self.world.engine_addresses:
            return
        self._say(f"{address} loses power")
        self.world.net.down(address)
        self._later(self.world.net.up, address)

    async def _names_gone(self) -> None:
        self._say("no name server answers")
        self.world.resolver.gone = True
        self._later(setattr, self.world.resolver, "gone", False)

    async def _clock(self) -> None:
        seconds = self.rng.choice((-1, 1)) * self.rng.choice((0.5, 10.0, 600.0, 4000.0)) * self.rng.random()
        self._say(f"the clock jumps by {seconds:.1f} s")
        self.world.clock.jump(seconds)

    async def _freeze(self) -> None:
        seconds = self.rng.random() * self.rng.choice((0.1, 2.0, 400.0))
        self._say(f"everything stands still for {seconds:.1f} s")
        self.world.loop.freeze(seconds)

    def _address(self) -> str:
        return self.rng.choice(
            [*self.world.engine_addresses, *(a for r in self.world.receivers for a in r.process.addresses)]
        )

    def _later(self, function: Callable[..., object], *args: object) -> None:
        delay = self.rng.random() * self.rng.choice((1.0, 30.0, 300.0))
        self.world.loop.call_later(delay, function, *args)

    def _say(self, text: str) -> None:
        self.world.trace.note("accident", text)
        self.log.append(f"{self.world.loop.time():.3f} {text}")


def _behave(step: Step, argument: str) -> Act | None:
    return None
