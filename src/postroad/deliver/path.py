"""The deliveries of one (binding, routing domain): when to open connections, what they carry, and what happens to the
messages when none can be had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Protocol

from postroad.config.schema import DeliveryOptions
from postroad.deliver.carried import Carried, CarriedMessages
from postroad.deliver.connection import Connection
from postroad.deliver.dial import OWN_TROUBLE, Failed, dial
from postroad.deliver.hints import hint
from postroad.deliver.machine import Again, Result
from postroad.deliver.means import Means
from postroad.deliver.plan import Target
from postroad.deliver.route import Route
from postroad.deliver.sweep import Sweep
from postroad.message import Message, Outcome, Reply, Stage, Verdict
from postroad.shaping import Binding, PathOptions

# Wait before trying again what should not spin.
_PAUSE = 1.0
# Seconds with one message after which others need not wait for this connection.
_STALLED = 5.0
# Longest sleep in a curfew: the system's clock may be set meanwhile.
_NAP = 600.0
# What mail for a blackhole comes to (momentum.md 6).
_BLACKHOLED = Reply(551, "5.7.1 the configuration sends mail of this kind nowhere (blackhole)")
# How a message is given back that nothing was done for.
_UNTOUCHED = Result(Verdict.DEFERRED, Reply(421, "4.3.2 no attempt was made"), Stage.IDLE, internal=True)


class Pool(Protocol):
    """What a path tells the whole."""

    def quiet(self, path: Path) -> None:
        """It may have nothing left to do."""

    def end_idle(self, connection: object) -> None:
        """Close this idle connection, of whichever path, so that another can have its place."""


class Path:
    """binding: its name."""

    def __init__(self, pool: Pool, means: Means, binding: str, domain: str) -> None:
        self.key = (binding, domain)
        self.domain = domain
        self.allowance = means.limits.allowance(binding, domain)
        # Dictionaries for sets: they keep an order, so that the same events always lead to the same ones.
        self.connections: dict[Connection, None] = {}  # established
        self.dialing: dict[asyncio.Task[bool], Target] = {}  # with what each tries first
        self._pool = pool
        self._means = means
        self._supply = means.supply
        self._loop = asyncio.get_running_loop()
        self.route = Route(means, self.allowance, domain, self._on_route)
        self.idle: list[Connection] = []
        self._carried = CarriedMessages()
        self._loads: dict[asyncio.Task[bool], None] = {}
        self._sweep: Sweep | None = None
        # After a connection beyond those we have was refused: how many we keep to, and until when.
        self._ceiling = 0
        self._ceiling_until = -inf
        # Connections that have been with one message for long, and when to count them again.
        self._stalled = 0
        self._look_at = -inf
        self._woken = False
        self._alarm: asyncio.TimerHandle | None = None
        self._resting = False  # until the alarm
        self.forgiving = False  # as soon as its hosts are known
        self._stopping = False
        self._aborting = False

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
        return self._sweep is not None

    def ceiling(self, now: float) -> int | None:
        """No more connections than this, since a host refused one more; None: no such thing."""
        return self._ceiling if now < self._ceiling_until else None

    def forgive_all(self) -> int:
        """Forget that its hosts failed, also of those that are found next; how many did."""
        failed = [target.address for target in self.route.targets if self.route.failure(target.address) is not None]
        for address in failed:
            self.forgive(address)
        self.forgiving = not self.route.fresh()
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

    def reconfigured(self) -> None:
        """Other options may count. Connections made with the old ones end with their message."""
        self.route.expire()
        for connection in list(self.connections):
            if connection.terms != _terms(self.allowance.options):
                self.end(connection)
        self.wake()

    def end(self, connection: Connection) -> None:
        """It takes leave now, or after its message."""
        connection.leaving = True
        connection.quit()

    def _wake_after(self, seconds: float) -> None:
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
        if self._stopping or self._resting or self.allowance.suspended:
            pass
        elif self.allowance.curfew is not None and (until := self.curfew_until()) is not None:
            self._keep_curfew(until)
        elif self._options.blackhole != "no":
            self._swallow()
        else:
            for _ in range(min(self._waiting(), len(self.idle))):
                connection = self.idle.pop()
                self.allowance.busy(connection)
                connection.work()
                if connection.idle:
                    break  # something holds the mail back, from the others as well
            if self._waiting() and self._sweep is None and not self.route.finding:
                if self.route.fresh():
                    self._dial_for_carried()
                    self._dial_for_queue()
                else:
                    self.route.find()
        self.allowance.decline()  # what is kept for us and not used is for others
        self._pool.quiet(self)

    def curfew_until(self) -> float | None:
        """Until when (Unix seconds) the path may not send; None: it may now."""
        curfew = self.allowance.curfew
        return None if curfew is None else curfew.until(self._means.wall())

    def _keep_curfew(self, until: float) -> None:
        """Nothing is begun. What is between two connections has had its attempt: it must not wait in flight, where
        nothing lets it expire."""
        for carried in self._carried.clear():
            self._settle_carried(carried)
        for connection in list(self.idle):
            self.end(connection)
        if self._waiting() and not self._stopping:
            self._wake_after(min(until - self._means.wall(), _NAP))

    def _swallow(self) -> None:
        """Mail for a blackhole ends without having gone anywhere."""
        if self._sweep is None and self._waiting():
            silent = self._options.blackhole == "discard"
            outcome = Outcome(Verdict.FAILED, _BLACKHOLED, Stage.NOT_CONNECTED, internal=True, silent=silent)
            self._settle_waiting(outcome, self._count_swallowed)

    def _count_swallowed(self) -> None:
        self._count(Verdict.FAILED)
        self._means.counts.blackholed += 1

    def _waiting(self) -> int:
        return self._supply.waiting(*self.key) + len(self._carried)

    def finished(self) -> bool:
        """Nothing here would be missed."""
        return not (
            self.connections
            or self.dialing
            or self._loads
            or self._carried
            or self._sweep
            or self.route.finding
            or self._woken
            or self._alarm
            or (self.allowance.waits and not self._stopping)
        )

    # --- connections --------------------------------------------------------------------------------------------------

    def _on_route(self, no_way: Result | None) -> None:
        if self.forgiving:
            self.forgive_all()
            self.forgiving = False
        for connection in list(self.connections):
            # What was good enough when it was opened may be so no more.
            if self.route.policy(connection.target.host) != connection.request.policy:
                self.end(connection)
        if no_way is not None and not self.connections:
            self._settle_waiting(Outcome(no_way.verdict, no_way.reply, no_way.stage, internal=True))
        else:
            self.wake()

    def _dial_for_queue(self) -> None:
        waiting = self._waiting()
        if not self.connections:
            # One connection finds out whether the hosts are there at all; the others follow when it is established.
            goal = min(waiting, 1)
        elif self.idle:
            return  # what there is can't send: more of it could not either
        else:
            goal = self._goal(waiting) if waiting else 0
            if self._loop.time() < self._ceiling_until:
                goal = min(goal, self._ceiling)
        while len(self.connections) + len(self.dialing) < goal:
            plan = self.route.plan(self._in_use())
            if not plan:
                if not self.connections and not self.dialing:
                    self._settle_avoided()
                return
            if not self._dial(plan):
                return

    def _goal(self, waiting: int) -> int:
        """A connection that has been with one message for long is of no use to those that wait: it counts as none."""
        now = self._loop.time()
        if now >= self._look_at:  # seldom: a busy path comes by here thousands of times a second
            self._look_at = now + _PAUSE
            busy = [connection for connection in self.connections if connection.message is not None]
            self._stalled = sum(1 for connection in busy if connection.since < now - _STALLED)
            if self._stalled < len(self.connections):
                self._wake_after(_STALLED)  # to look again
        return min(self.allowance.goal(waiting) + self._stalled, self.allowance.most)

    def _in_use(self) -> list[Target]:
        return [*(connection.target for connection in self.connections), *self.dialing.values()]

    def _dial_for_carried(self) -> None:
        """Messages that a host refused for now want a connection to another one."""
        for carried in self._carried:
            if not carried.tried or self.dialing:
                continue  # any connection will do; or the next one may
            if any(connection.target.address not in carried.tried for connection in self.connections):
                continue
            plan = self.route.plan(self._in_use(), carried.tried)
            if not plan:
                self._carried.remove(carried)
                self._settle_carried(carried)
            elif len(self.connections) < self.allowance.most:
                self._dial(plan)

    def _dial(self, plan: list[Target]) -> bool:
        means = self._means
        allowance = self.allowance
        if not any(allowance.host_room(target.address) for target in plan):
            allowance.host_wait(plan[0].address)
            return False
        wait = allowance.open()
        if wait == inf:
            self._pool.end_idle(allowance.spare())
            return False
        if wait > 0:
            self._wake_after(wait)
            return False
        means.counts.opened += 1
        made: list[Connection] = []
        failures: list[Failed] = []
        options, binding = self._options, self.binding
        times = means.made(options).times
        terms = _terms(allowance.options)
        limit = options.max_deliveries_per_connection

        def make(target: Target, source: str) -> Connection:
            hello = binding.ehlo_hostname or means.hostname
            request = self.route.request(target)
            made.append(Connection(self, target, source, hello, times, limit, request))
            made[-1].terms = terms
            made[-1].tap, made[-1].domain = means.tap, self.domain
            return made[-1]

        def failed(failure: Failed) -> None:
            failures.append(failure._replace(result=means.replies.judged(failure.result, *self.key)))
            address = failure.target.address
            # A host that serves us on other connections has not failed: it has enough of us.
            if all(connection.target.address != address for connection in self.connections):
                self.route.failed(address, failure.result)

        task = self._loop.create_task(
            dial(
                plan,
                self.route.port,
                source=binding.source,
                timeout=float(options.connect_timeout),
                admit=self._admit,
                make=make,
                lower=self.route.lower,
                left=lambda target: allowance.host_closed(target.address),
                failed=failed,
            )
        )
        self.dialing[task] = plan[0]
        task.add_done_callback(partial(self._on_dialed, made, failures))
        return True

    def _admit(self, target: Target) -> bool:
        # A look-up that ended meanwhile may have found that mail must not go there.
        return self.route.policy(target.host) is not None and self.allowance.host_open(target.address)

    def _on_dialed(self, made: list[Connection], failures: list[Failed], task: asyncio.Task[bool]) -> None:
        self.dialing.pop(task, None)
        established = bool(made) and made[-1].established  # also when it was called off a moment too late
        if not established:
            self.allowance.closed()
        if task.cancelled() or established:
            self.wake()
            return
        error = task.exception()
        if isinstance(error, OSError) and error.errno in OWN_TROUBLE:
            self._wake_after(_PAUSE)
            return
        if error is not None:
            self._loop.call_exception_handler(
                {"message": f"connecting to {self.domain} failed", "exception": error, "task": task}
            )
            self._wake_after(_PAUSE)
            return
        if not failures:
            self._wake_after(_PAUSE)  # every host was full by then
        elif self.connections:
            self._ceiling = len(self.connections)
            self._ceiling_until = self._loop.time() + float(self._options.host_failure_retry)
            self.wake()
        elif self.dialing or self._stopping:
            self.wake()
        else:
            # One host's "never" is not the domain's while another host only says "not now".
            hopeful = [failure for failure in failures if failure.result.verdict is Verdict.DEFERRED]
            target, source, result = (hopeful or failures)[-1]
            self._settle_waiting(_outcome(result, target.host, target.address, source))

    # --- what connections ask and tell (Owner) ------------------------------------------------------------------------

    def ready(self, connection: Connection) -> None:
        self.connections[connection] = None
        target = connection.target
        self.route.opened(connection)
        if self.route.worse(target):
            # When the better host may be tried again, this connection must not go on for ever.
            connection.expires = self._loop.time() + float(self._options.host_failure_retry)

    def _closed(self) -> bool:
        """A curfew or a blackhole: nothing new may be sent."""
        return self.curfew_until() is not None or self._options.blackhole != "no"

    def next(self, connection: Connection) -> Message | None:
        over = connection.expires != inf and self._loop.time() >= connection.expires
        if self._stopping or over or (self.allowance.restricted and self._closed()):
            connection.leaving = True
            return None
        if self._carried or (self._sweep is None and not self._resting):
            wait = self.allowance.message()
            if wait == 0:
                message = self._carried.give(connection) if self._carried else None
                if message is None and self._sweep is None and not self._resting:
                    message = self._supply.take(*self.key)
                if message is not None:
                    return message
                self.allowance.unsent()
                if self._sweep is None and self._supply.waiting(*self.key):
                    self._wake_after(_PAUSE)  # the queue has something, and does not give it now
            elif wait != inf:
                self._wake_after(wait)
        self.idle.append(connection)
        self._pool.end_idle(self.allowance.idle(connection))
        return None

    def load(self, connection: Connection, message: Message) -> None:
        task = self._loop.create_task(self._supply.load(message))
        self._loads[task] = None
        task.add_done_callback(partial(self._on_loaded, connection, message))

    def _on_loaded(self, connection: Connection, message: Message, task: asyncio.Task[bool]) -> None:
        self._loads.pop(task, None)
        if task.cancelled() or task.exception() or not task.result():
            self._carried.settled(connection)
        if task.cancelled():
            self._supply.settle(message, _outcome(_UNTOUCHED, counts=False))
            connection.unreadable()
        elif (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "loading a message failed", "exception": error, "task": task})
            # What is told of a message is in its envelope, so without one there is nothing to tell. Give it back, and
            # ask for nothing for a while: the next load may break as well.
            self._resting = True
            self._wake_after(_PAUSE)
            self._supply.settle(message, _outcome(_UNTOUCHED, counts=False))
            connection.unreadable()
        elif task.result():
            connection.loaded(message)
        else:
            connection.unreadable()
        self._pool.quiet(self)

    def settled(self, connection: Connection, message: Message, result: Result) -> None:
        target = connection.target
        result = self._means.replies.judged(result, *self.key)
        if result.again is not Again.NO and not self._stopping and self._carry(connection, message, result):
            return
        self._carried.settled(connection)
        verdict = result.verdict
        if self._stopping and result.internal:
            unbegun = result.again is Again.HAND_OVER
            if unbegun or (self._aborting and result.stage is not Stage.CONFIRMATION):
                self._supply.settle(message, _outcome(_UNTOUCHED, target.host, target.address, counts=False))
                return
        self._count(verdict)
        dsn = connection.machine.offered.dsn and verdict is Verdict.DELIVERED
        outcome = _outcome(result, target.host, target.address, connection.source, tls=connection.tls, dsn=dsn)
        self._supply.settle(message, outcome)

    def _carry(self, connection: Connection, message: Message, result: Result) -> bool:
        """Keep the message in flight for another connection, if that is worth while."""
        carried = self._carried.offer(connection, message, result)
        if carried is None:
            return False
        if carried.tried:
            most = self.allowance.most
            if len(self._carried) >= most or not self.route.plan((), carried.tried):
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
        elif not self._stopping and not self._carried and self._waiting():
            self._wake_after(_PAUSE)  # it came to nothing; the next one must not follow at once
            return
        self.wake()

    # --- when there is no way -----------------------------------------------------------------------------------------

    def _settle_avoided(self) -> None:
        """Every host failed a moment ago: say so at once rather than try each new message on them."""
        avoided = self.route.avoided()
        if avoided is None:
            self._wake_after(_PAUSE)
        else:
            result, retry_after = avoided
            self._settle_waiting(_outcome(result, retry_after=retry_after))

    def _settle_waiting(self, outcome: Outcome, counted: Callable[[], None] | None = None) -> None:
        for carried in self._carried.clear():
            self._settle_carried(carried)
        if not self._stopping and self._sweep is None:
            self._sweep = Sweep(
                self._supply,
                *self.key,
                outcome,
                handed_back=_outcome(_UNTOUCHED, counts=False),
                counted=counted or partial(self._count, outcome.verdict),
                done=self._on_swept,
            )
        self._pool.quiet(self)

    def _on_swept(self) -> None:
        self._sweep = None
        if self._waiting():
            self._wake_after(_PAUSE)  # came meanwhile, or the queue holds them back
        self._pool.quiet(self)

    def _settle_carried(self, carried: Carried) -> None:
        self._count(carried.result.verdict)
        outcome = _outcome(carried.result, carried.host, carried.peer, carried.source)
        self._supply.settle(carried.message, outcome)

    def _count(self, verdict: Verdict, number: int = 1) -> None:
        self._means.counts.verdicts[verdict] += number

    # --- the end ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take nothing more; messages on the wire go on."""
        self._stopping = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._sweep is not None:
            self._sweep.stop()
        self.route.stop()
        for task in self.dialing:
            task.cancel()
        for carried in self._carried.clear():
            self._supply.settle(carried.message, _outcome(_UNTOUCHED, counts=False))
        for connection in list(self.connections):
            connection.quit()
        self.wake()

    def abort(self) -> None:
        """Time is up: drop what is still open."""
        self._aborting = True
        if self._sweep is not None:
            self._sweep.abort()
        for task in self._loads:
            task.cancel()
        for connection in list(self.connections):
            connection.abort()


def _terms(options: PathOptions) -> object:
    """What a connection is made with; it ends when this changes."""
    return options.binding, options.delivery


def _outcome(
    result: Result,
    host: str = "",
    peer: str = "",
    source: str = "",
    *,
    tls: str = "",
    retry_after: float | None = None,
    counts: bool = True,
    dsn: bool = False,
) -> Outcome:
    outcome = Outcome(
        result.verdict, result.reply, result.stage, host, peer, source, tls, result.internal, retry_after, counts, dsn
    )
    if result.verdict is Verdict.DELIVERED or result.internal:
        return outcome
    ruled = result.ruled
    if ruled is not None and ruled.wait is not None:
        outcome = outcome._replace(retry_after=ruled.wait)
    wish = hint(result.reply.text) if result.verdict is Verdict.DEFERRED else None
    return outcome._replace(hint=wish, ruled=ruled)
