"""The deliveries of one (binding, routing domain): when to work, and what its connections carry."""

from __future__ import annotations

import asyncio
from functools import partial
from math import inf
from typing import Protocol

from postroad.config.schema import DeliveryOptions
from postroad.deliver.batch import share
from postroad.deliver.carried import CarriedMessages
from postroad.deliver.connection import Connection
from postroad.deliver.crew import PAUSE, Crew
from postroad.deliver.deadend import DeadEnd
from postroad.deliver.means import Means
from postroad.deliver.outcomes import UNTOUCHED, outcome_of
from postroad.deliver.route import Route
from postroad.deliver.steps import Again, Result
from postroad.message import Message, Stage, Verdict
from postroad.shaping import Allowance, Binding

# Longest sleep in a curfew: the system's clock may be set meanwhile.
_NAP = 600.0


class Pool(Protocol):
    """What a path tells the whole."""

    def quiet(self, path: Path) -> None:
        """It may have nothing left to do."""

    def end_idle(self, connection: object) -> None:
        """Close this idle connection, of whichever path, so that another can have its place."""

    def located(self, path: Path, no_way: Result | None) -> bool:
        """A look-up has ended. False: what it found is of no use to the path, and it goes on as before."""


class Path:
    """binding: its name. line: the path that the domain's mail goes by, where that is shared with other domains; then
    this one looks its domain up, ends what it has begun, and is not given any more."""

    def __init__(self, pool: Pool, means: Means, binding: str, domain: str) -> None:
        self.key = (binding, domain)
        self.domain = domain
        self.line: Path | None = None
        self.allowance = self._allow(means)
        self._pool = pool
        self._means = means
        self._supply = means.supply
        self._loop = asyncio.get_running_loop()
        self.route = self._find_route(means)
        self._carried = CarriedMessages()
        self._dead_end = DeadEnd(means, self.key, self._carried, swept=self._on_swept, quiet=partial(pool.quiet, self))
        self.crew = Crew(self, means, self.allowance, self.route, self._carried, self._dead_end)
        # Its own, at hand.
        self.connections = self.crew.connections
        self.dialing = self.crew.dialing
        self.idle = self.crew.idle
        self._loads: dict[asyncio.Task[bool], None] = {}
        self._woken = False
        self._alarm: asyncio.TimerHandle | None = None
        self._resting = False  # until the alarm
        self._put_off_until = -inf  # all that waits: there is no way to deliver it
        self.forgiving = False  # as soon as its hosts are known
        self._stopping = False
        self._aborting = False

    def _allow(self, means: Means) -> Allowance:
        return means.limits.allowance(*self.key)

    def _find_route(self, means: Means) -> Route:
        return Route(means, self.allowance, self.domain, self._on_route)

    def __repr__(self) -> str:
        return f"<Path {'/'.join(self.key)} connections={len(self.connections)}>"

    @property
    def binding(self) -> Binding:
        return self.allowance.binding

    @property
    def _options(self) -> DeliveryOptions:
        return self.allowance.delivery

    # --- for the operator ---------------------------------------------------------------------------------------------

    @property
    def carried(self) -> int:
        """Messages in flight between two connections."""
        return len(self._carried)

    @property
    def sweeping(self) -> bool:
        """All that waits is being settled, because there is no way to deliver it."""
        return self._dead_end.sweeping

    def ceiling(self, now: float) -> int | None:
        """No more connections than this, since a host refused one more; None: no such thing."""
        return self.crew.ceiling(now)

    def put_off_for(self, now: float) -> float:
        """Seconds for which nothing is tried, since there was no way to deliver what waits."""
        return 0.0 if self.connections else max(0.0, self._put_off_until - now)

    def forgive_all(self) -> int:
        """Forget that its hosts failed, also of those that are found next; how many did."""
        failed = [target.address for target in self.route.targets if self.route.failure(target.address) is not None]
        for address in failed:
            self.forgive(address)
        self.forgiving = not self.route.fresh()
        self._put_off_until = -inf
        self.wake()
        return len(failed)

    def forgive(self, address: str) -> None:
        """Forget that this host failed."""
        self.route.works(address)
        self._means.health.serves(self.binding.source(address), address)

    # --- when to work -------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look at the queue soon. Calls before that happens are one."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._pump)

    def look(self) -> None:
        """Look at the queue now."""
        self._pump()

    def reconfigured(self) -> None:
        """Other options may count."""
        self.route.expire()
        self.crew.reconfigured()
        self.wake()

    def wake_after(self, seconds: float) -> None:
        """The same later; the earliest such call counts."""
        at = self._loop.time() + seconds
        if self._alarm is not None:
            if self._alarm.when() <= at:
                return
            self._alarm.cancel()
        self._alarm = None if self._stopping else self._loop.call_at(at, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self._resting = False
        self.wake()

    def _pump(self) -> None:
        self._woken = False
        if self._stopping or self._resting:
            pass
        elif self.allowance.suspended:
            self._dead_end.settle_all_carried()  # in flight nothing would let them expire
        elif self.allowance.curfew is not None and (until := self.curfew_until()) is not None:
            self._keep_curfew(until)
        elif self._options.blackhole != "no":
            if self.waiting() and not self._dead_end.sweeping:
                self._dead_end.swallow(silent=self._options.blackhole == "discard")
        else:
            for _ in range(min(self.waiting(), len(self.idle))):
                connection = self.idle.pop()
                if connection.kin is not None:
                    del connection.kin.idle[connection]
                self.allowance.busy(connection)
                connection.work()
                if connection.idle:
                    break  # something holds the mail back, from the others as well
            if (wait := self.put_off_for(self._loop.time())) > 0:
                self.wake_after(wait)
            elif self.waiting() and not self._dead_end.sweeping and not self.route.finding:
                if self.route.fresh():
                    self.crew.employ()
                else:
                    self.route.find()
        for idle in self.allowance.sure():
            self._pool.end_idle(self.allowance.idle(idle))
        self.allowance.decline()  # what is kept for us and not used is for others
        self._pool.quiet(self)

    def curfew_until(self) -> float | None:
        """Until when (Unix seconds) the path may not send; None: it may now."""
        curfew = self.allowance.curfew
        return None if curfew is None else curfew.until(self._means.wall())

    def _keep_curfew(self, until: float) -> None:
        """Nothing is begun. What is between two connections has had its attempt: it must not wait in flight, where
        nothing lets it expire."""
        self._dead_end.settle_all_carried()
        for connection in list(self.idle):
            connection.end()
        if self.waiting() and not self._stopping:
            self.wake_after(min(until - self._means.wall(), _NAP))

    def waiting(self) -> int:
        return self._supply.waiting(*self.key) + len(self._carried)

    def finished(self) -> bool:
        """Nothing here would be missed."""
        return not (
            self.connections
            or self.dialing
            or self._loads
            or self._carried
            or self._dead_end.sweeping
            or self.route.finding
            or self._woken
            or self._alarm
            or (self.line is not None and not self._stopping)
            or (self.allowance.waits and not self._stopping)
        )

    def _on_route(self, no_way: Result | None) -> None:
        if not self._pool.located(self, no_way):
            return
        if self.forgiving:
            self.forgive_all()
            self.forgiving = False
        self.crew.rerouted()
        if no_way is not None and not self.connections:
            self._dead_end.settle(outcome_of(no_way))
        else:
            self.wake()

    # --- what connections ask and tell (Owner) ------------------------------------------------------------------------

    def ready(self, connection: Connection) -> None:
        self.connections[connection] = None
        self.route.opened(connection)
        self.crew.ready(connection)

    def _closed(self) -> bool:
        """A curfew or a blackhole: nothing new may be sent."""
        return self.curfew_until() is not None or self._options.blackhole != "no"

    def next(self, connection: Connection) -> Message | None:
        over = connection.expires != inf and self._loop.time() >= connection.expires
        if self._stopping or over or (self.allowance.restricted and self._closed()):
            connection.leaving = True
            return None
        carried = self._carried
        if carried.waiting or (not self._dead_end.sweeping and not self._resting):
            wait = self.allowance.message()
            if wait == 0:
                message = carried.give(connection) if carried.waiting else None
                if message is None and not self._dead_end.sweeping and not self._resting:
                    message = self._supply.take(*self.key)
                if message is not None:
                    return message
                self.allowance.unsent()
                if not self._dead_end.sweeping and self._supply.waiting(*self.key):
                    self.wake_after(PAUSE)  # the queue has something, and does not give it now
            elif wait != inf:
                self.wake_after(wait)
        self.idle.append(connection)
        if connection.kin is not None:
            connection.kin.idle[connection] = self.crew
        self._pool.end_idle(self.allowance.idle(connection))
        return None

    def more(self, connection: Connection, first: Message) -> Message | None:
        """Only what stands next, so that the queue's order holds: what does not fit waits for the next connection that
        is free, ahead of all others."""
        carried = self._carried.next(connection) if self._carried.waiting else None
        if carried is not None:
            if not share(first, carried.message):
                return None
        elif self._dead_end.sweeping or not self._supply.waiting(*self.key):
            return None
        if connection.leaving or self._stopping or self._resting or (self.allowance.restricted and self._closed()):
            return None
        wait = self.allowance.message()
        if wait:
            if wait != inf:
                self.wake_after(wait)
            return None
        message = self._supply.take(*self.key) if carried is None else self._carried.give(connection)
        if message is not None and share(first, message):
            return message
        self.allowance.unsent()
        if message is not None:
            self.back(message)
        return None

    def back(self, message: Message) -> None:
        if self._stopping:
            self._supply.settle(message, outcome_of(UNTOUCHED, counts=False))
        else:
            self._carried.back(message)
            self.wake()

    def load(self, connection: Connection, message: Message) -> None:
        task = self._loop.create_task(self._supply.load(message))
        self._loads[task] = None
        task.add_done_callback(partial(self._on_loaded, connection, message))

    def _on_loaded(self, connection: Connection, message: Message, task: asyncio.Task[bool]) -> None:
        self._loads.pop(task, None)
        if task.cancelled() or task.exception() or not task.result():
            self._carried.settled(message)
        if task.cancelled():
            self._supply.settle(message, outcome_of(UNTOUCHED, counts=False))
            connection.unreadable()
        elif (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "loading a message failed", "exception": error, "task": task})
            # What is told of a message is in its envelope, so without one there is nothing to tell. Give it back, and
            # ask for nothing for a while: the next load may break as well.
            self._resting = True
            self.wake_after(PAUSE)
            self._supply.settle(message, outcome_of(UNTOUCHED, counts=False))
            connection.unreadable()
        elif task.result():
            connection.loaded(message)
        else:
            connection.unreadable()
        self._pool.quiet(self)

    def settled(self, connection: Connection, message: Message, result: Result) -> None:
        target = connection.target
        if result.verdict is not Verdict.DELIVERED:
            result = self._means.replies.judged(result, self.key[0], message.domain)
        if result.again is not Again.NO and not self._stopping and self._carry(connection, message, result):
            return
        if self._carried.on:
            self._carried.settled(message)
        verdict = result.verdict
        if self._stopping and (result.internal or result.again is Again.NEXT_TRANSACTION):
            unbegun = result.again is Again.HAND_OVER or result.again is Again.NEXT_TRANSACTION
            if unbegun or (self._aborting and result.stage is not Stage.CONFIRMATION):
                self._supply.settle(message, outcome_of(UNTOUCHED, target.host, target.address, counts=False))
                return
        self._dead_end.count(verdict)
        dsn = connection.machine.offered.dsn and verdict is Verdict.DELIVERED
        outcome = outcome_of(result, target.host, target.address, connection.source, tls=connection.tls, dsn=dsn)
        self._supply.settle(message, outcome)

    def _carry(self, connection: Connection, message: Message, result: Result) -> bool:
        """Keep the message in flight for another connection, if that is worth while."""
        carried = self._carried.offer(connection, message, result)
        if carried is None:
            return False
        if carried.tried and result.again is not Again.NEXT_TRANSACTION:
            most = self.allowance.most
            if len(self._carried) >= most * connection.most or not self.route.plan((), carried.tried):
                return False
            if len(self.connections) >= most:
                connection.leaving = True  # it would stand in the other host's way
        self._carried.keep(carried)
        self.wake()
        return True

    def closed(self, connection: Connection) -> None:
        self.connections.pop(connection, None)
        if connection in self.idle:
            self.idle.remove(connection)
            if connection.kin is not None:
                del connection.kin.idle[connection]
        address = connection.target.address
        self.allowance.busy(connection)
        self.allowance.closed()
        self.allowance.host_closed(address)
        source = self.binding.source(address)
        if connection.fruitless is not None:
            options, now = self._options, self._loop.time()
            retry, most = float(options.host_failure_retry), float(options.max_host_failure_retry)
            self._means.health.strike(source, address, connection.fruitless, now, retry, most)
        elif connection.machine.served:
            self._means.health.serves(source, address)
        elif not self._stopping and not self._carried and self.waiting():
            self.wake_after(PAUSE)  # it came to nothing; the next one must not follow at once
            return
        self.wake()

    def _on_swept(self, left: bool) -> None:
        avoided = self.route.avoided()
        if left and not self.connections and not self._stopping and (avoided or not self.route.targets):
            # Until a host may be tried again, at no cost for each message (momentum.md 3.3).
            wait = avoided[1] if avoided else float(self._options.host_failure_retry)
            self._put_off_until = self._loop.time() + wait
            self.wake_after(wait)
        elif self.waiting():
            self.wake_after(PAUSE)  # came meanwhile, or the queue holds them back
        self._pool.quiet(self)

    def make_room(self, connection: object) -> None:
        self._pool.end_idle(connection)

    # --- the end ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take nothing more; messages on the wire go on."""
        self._stopping = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self.route.stop()
        self._dead_end.stop()
        self.crew.stop()
        self.wake()

    def abort(self) -> None:
        """Time is up: drop what is still open."""
        self._aborting = True
        self._dead_end.abort()
        for task in self._loads:
            task.cancel()
        self.crew.abort()
