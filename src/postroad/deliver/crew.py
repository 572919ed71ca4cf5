"""The connections of one path: how many it wants, where the next one goes, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from functools import partial
from math import inf
from typing import Protocol

from postroad.config.schema import DeliveryOptions
from postroad.deliver.attempt import Attempt, Race
from postroad.deliver.batchconnection import BatchConnection
from postroad.deliver.carried import CarriedMessages
from postroad.deliver.connection import Connection, Owner
from postroad.deliver.deadend import DeadEnd
from postroad.deliver.dial import OWN_TROUBLE, Failed, dial
from postroad.deliver.means import Means
from postroad.deliver.outcomes import outcome_of
from postroad.deliver.plan import Target
from postroad.deliver.route import Route
from postroad.deliver.siblings import alike
from postroad.message import Verdict
from postroad.shaping import Allowance, PathOptions

# Wait before trying again what should not spin.
PAUSE = 1.0
# Attempts for the first connection of a path that may be under way at once.
_ABREAST = 3
# Seconds with one message after which others need not wait for this connection.
_STALLED = 5.0


class Employer(Owner, Protocol):
    """The path a crew works for. domain: whose rules for replies count."""

    key: tuple[str, str]
    domain: str

    def wake(self) -> None:
        """Look at the queue soon."""

    def wake_after(self, seconds: float) -> None:
        """The same later."""

    def waiting(self) -> int:
        """Messages due, and those between two connections."""

    def make_room(self, connection: object) -> None:
        """Close this idle connection, of whichever path, so that another can have its place. None: nothing to do."""


class Crew:
    """connections: established. dialing: attempts under way. Both are dictionaries for sets: they keep an order, so
    that the same events always lead to the same ones. idle: those that wait for mail."""

    def __init__(
        self,
        employer: Employer,
        means: Means,
        allowance: Allowance,
        route: Route,
        carried: CarriedMessages,
        dead_end: DeadEnd,
    ) -> None:
        self.connections: dict[Connection, None] = {}
        self.dialing: dict[Attempt, None] = {}
        self.idle: list[Connection] = []
        self._employer = employer
        self._means = means
        self._allowance = allowance
        self._route = route
        self._carried = carried
        self._dead_end = dead_end
        self._loop = asyncio.get_running_loop()
        # After a connection beyond those we have was refused: how many we keep to, and until when.
        self._ceiling = 0
        self._ceiling_until = -inf
        # Connections that have been with one message for long, and when to count them again.
        self._stalled = 0
        self._look_at = -inf
        self._stopping = False

    @property
    def _options(self) -> DeliveryOptions:
        return self._allowance.delivery

    def ceiling(self, now: float) -> int | None:
        """No more connections than this, since a host refused one more; None: no such thing."""
        return self._ceiling if now < self._ceiling_until else None

    def employ(self) -> None:
        """Mail waits, and the hosts are known: open what connections it wants."""
        self._dial_for_carried()
        self._dial_for_queue()

    def reconfigured(self) -> None:
        """Connections made with other options end with their message, and attempts at once."""
        terms = _terms(self._allowance.options)
        for each in self.held():
            if each.terms != terms:
                each.end()

    def held(self) -> list[Connection | Attempt]:
        """What has a place in the path's gates."""
        return [*self.connections, *(attempt for attempt in self.dialing if not attempt.established)]

    def rerouted(self) -> None:
        """What was good enough when it was opened may be so no more."""
        for connection in list(self.connections):
            if self._route.policy(connection.target.host) != connection.request.policy:
                connection.end()

    def ready(self, connection: Connection) -> None:
        """A session is established: attempts that stood for it are called off, and hosts that were slow are avoided."""
        self._limit_time(connection)
        if len(self.dialing) < 2:
            return
        winner = next((each for each in self.dialing if each.made and each.made[-1] is connection), None)
        for other in self.dialing:
            if winner is None or other is winner or other.race is not winner.race or other.established:
                continue
            if other.slow and other.target.address != connection.target.address:
                self._route.failed(other.target.address, other.beaten())
            other.call_off()

    def _limit_time(self, connection: Connection) -> None:
        """When a better host may be tried again, this connection must not go on for ever."""
        if self._route.worse(connection.target):
            connection.expires = self._loop.time() + float(self._options.host_failure_retry)

    def stop(self) -> None:
        self._stopping = True
        for attempt in self.dialing:
            attempt.call_off()
        for connection in list(self.connections):
            connection.quit()

    def abort(self) -> None:
        for connection in list(self.connections):
            connection.abort()

    # --- how many, and where ------------------------------------------------------------------------------------------

    def _dial_for_queue(self) -> None:
        waiting = self._employer.waiting()
        if not self.connections:
            # One connection finds out whether the hosts are there at all; the others follow when it is established.
            goal = min(waiting, 1) * (len(self.dialing) + 1 if self._may_race() else 1)
        elif self.idle:
            return  # what there is can't send: more of it could not either
        else:
            goal = self._goal(waiting) if waiting else 0
            if self._loop.time() < self._ceiling_until:
                goal = min(goal, self._ceiling)
        # One that was taken over may have found nothing left to send.
        while not self.idle and len(self.connections) + len(self.dialing) < goal:
            race = next(iter(self.dialing)).race if self.dialing and not self.connections else Race()
            plan = self._route.plan(self._in_use(), [target.address for target in race.met])
            if not plan:
                if not self.connections and not self.dialing:
                    self._settle_avoided()
                return
            if not self._dial(plan, race):
                return

    def _may_race(self) -> bool:
        """All attempts wait for hosts that have said nothing for a while: the next host may be tried beside them."""
        under_way = len(self.dialing)
        return 0 < under_way < min(_ABREAST, self._allowance.most) and all(attempt.slow for attempt in self.dialing)

    def _goal(self, waiting: int) -> int:
        """A connection that has been with one message for long is of no use to those that wait: it counts as none."""
        now = self._loop.time()
        if now >= self._look_at:  # seldom: a busy path comes by here thousands of times a second
            self._look_at = now + PAUSE
            busy = [connection for connection in self.connections if connection.message is not None]
            self._stalled = sum(1 for connection in busy if connection.since < now - _STALLED)
            if self._stalled < len(self.connections):
                self._employer.wake_after(_STALLED)  # to look again
        return min(self._allowance.goal(waiting) + self._stalled, self._allowance.most)

    def _in_use(self) -> list[Target]:
        return [*(connection.target for connection in self.connections), *(attempt.target for attempt in self.dialing)]

    def _dial_for_carried(self) -> None:
        """Messages that a host refused for now want a connection to another one."""
        for carried in self._carried:
            if not carried.tried or self.dialing:
                continue  # any connection will do; or the next one may
            if any(connection.target.address not in carried.tried for connection in self.connections):
                continue
            plan = self._route.plan(self._in_use(), carried.tried)
            if not plan:
                self._carried.remove(carried)
                self._dead_end.settle_carried(carried)
            elif len(self.connections) < self._allowance.most:
                self._dial(plan, Race())

    def _dial(self, plan: list[Target], race: Race) -> bool:
        means = self._means
        allowance = self._allowance
        if self._take_over(plan):
            return True
        if not any(allowance.host_room(target.address) for target in plan):
            allowance.host_wait(plan[0].address)
            return False
        wait = allowance.open([target.address for target in plan])
        if wait == inf:
            self._employer.make_room(allowance.spare())
            return False
        if wait > 0:
            self._employer.wake_after(wait)
            return False
        if allowance.lease is not None and self._exchange(plan):
            return True
        means.counts.opened += 1
        options, binding = self._options, allowance.binding
        times = means.made(options).times
        terms = _terms(allowance.options)
        limit = options.max_deliveries_per_connection
        patience = float(options.next_host_after) if len(self._route.targets) > 1 else 0.0
        attempt = Attempt(race, plan[0], dict.fromkeys(allowance.granted or ()), patience, self._employer.wake)
        attempt.terms = terms

        def make(target: Target, source: str) -> Connection:
            hello = binding.ehlo_hostname or means.hostname
            request = self._route.request(target)
            kind = BatchConnection if options.max_recipients_per_batch > 1 else Connection
            made = kind(self._employer, target, source, hello, times, limit, request, self._route.manner())
            made.most = options.max_recipients_per_batch
            made.terms = terms
            made.tap, made.domain = means.tap, self._employer.key[1]
            if options.reuse_connections:
                made.kin = means.siblings.kin(self._common(target))
            attempt.made.append(made)
            return made

        judged = partial(means.replies.judged, binding=binding.name, domain=self._employer.domain)

        def failed(failure: Failed) -> None:
            race.failures.append(failure._replace(result=judged(failure.result)))
            address = failure.target.address
            # A host that serves us on other connections has not failed: it has enough of us.
            if all(connection.target.address != address for connection in self.connections):
                self._route.failed(address, failure.result)

        task = attempt.task = self._loop.create_task(
            dial(
                plan,
                self._route.port,
                source=binding.source,
                timeout=float(options.connect_timeout),
                admit=partial(self._admit, attempt),
                make=make,
                lower=self._route.lower,
                left=lambda target: allowance.host_closed(target.address),
                failed=failed,
            )
        )
        self.dialing[attempt] = None
        task.add_done_callback(partial(self._on_dialed, attempt))
        return True

    # --- connections of siblings --------------------------------------------------------------------------------------

    def _common(self, target: Target) -> Hashable:
        """What connections there must have in common so that one will do for the other's path, apart from TLS."""
        options = self._allowance.options
        made = self._means.made(options.delivery)
        return options.binding, target.address, target.port or self._route.port, made.common, self._route.credential

    def _siblings(self, plan: list[Target]) -> Iterator[tuple[Connection, Crew, Target]]:
        """Connections of other paths that would do, to one of the best hosts: idle ones for which no mail waits."""
        if not self._options.reuse_connections:
            return
        for target in plan:
            if target.preference != plan[0].preference:
                return
            for connection, giver in self._means.siblings.idle(self._common(target)):
                if giver is self or not connection.idle or connection.leaving or giver.needs_idle():
                    continue
                if self._route.policy(target.host) is not None and alike(
                    connection.request, self._route.request(target)
                ):
                    yield connection, giver, target

    def needs_idle(self) -> bool:
        """Something else than a lack of mail holds its idle connections back."""
        return self._stopping or self._employer.waiting() > 0

    def _take_over(self, plan: list[Target]) -> bool:
        """The place that the connection has moves with it."""
        found = next(self._siblings(plan), None)
        if found is None:
            return False
        connection, giver, target = found
        if not self._allowance.inherit(giver._allowance, target.address):
            return False
        self._move(connection, giver, target)
        return True

    def _exchange(self, plan: list[Target]) -> bool:
        """The same with several engines: a place was lent for a new connection, and the old one goes back."""
        allowance = self._allowance
        found = next(self._siblings(plan), None)
        if found is None:
            return False
        connection, giver, target = found
        if not allowance.host_open(target.address):
            return False
        allowance.hosts_unused(address for address in allowance.granted or () if address != target.address)
        giver._allowance.closed()
        giver._allowance.host_closed(target.address)
        self._move(connection, giver, target)
        return True

    def _move(self, connection: Connection, giver: Crew, target: Target) -> None:
        giver.give(connection)
        self._means.counts.reused += 1
        self.connections[connection] = None
        connection.move(self._employer, target, self._employer.key[1], _terms(self._allowance.options))
        self._limit_time(connection)
        connection.work()

    def give(self, connection: Connection) -> None:
        """It is another's from now on."""
        del self.connections[connection]
        self.idle.remove(connection)
        if connection.kin is not None:
            del connection.kin.idle[connection]
        self._allowance.busy(connection)
        self._employer.wake()  # it may have nothing left

    # --- attempts -----------------------------------------------------------------------------------------------------

    def _admit(self, attempt: Attempt, target: Target) -> bool:
        # A look-up that ended meanwhile may have found that mail must not go there.
        if target in attempt.race.met or self._route.policy(target.host) is None:
            return False
        if not self._allowance.host_open(target.address):
            return False
        attempt.goes_to(target)
        return True

    def _on_dialed(self, attempt: Attempt, task: asyncio.Task[bool]) -> None:
        self.dialing.pop(attempt, None)
        attempt.over()
        self._allowance.hosts_unused(attempt.unused)
        established = attempt.established
        if not established:
            self._allowance.closed()
        elif attempt.unwanted:
            attempt.made[-1].end()
        if task.cancelled() or established:
            self._employer.wake()
            return
        error = task.exception()
        if isinstance(error, OSError) and error.errno in OWN_TROUBLE:
            self._employer.wake_after(PAUSE)
            return
        if error is not None:
            self._loop.call_exception_handler(
                {"message": f"connecting to {self._employer.key[1]} failed", "exception": error, "task": task}
            )
            self._employer.wake_after(PAUSE)
            return
        failures = attempt.race.failures
        if not failures:
            self._employer.wake_after(PAUSE)  # every host was full by then
        elif self.connections and attempt.race.attempts == 1:
            self._ceiling = len(self.connections)
            self._ceiling_until = self._loop.time() + float(self._options.host_failure_retry)
            self._employer.wake()
        elif self.connections or self.dialing or self._stopping:
            self._employer.wake()
        else:
            # One host's "never" is not the domain's while another host only says "not now".
            hopeful = [failure for failure in failures if failure.result.verdict is Verdict.DEFERRED]
            target, source, result = (hopeful or failures)[-1]
            self._dead_end.settle(outcome_of(result, target.host, target.address, source))

    def _settle_avoided(self) -> None:
        """Every host failed a moment ago: say so at once rather than try each new message on them."""
        avoided = self._route.avoided()
        if avoided is None:
            self._employer.wake_after(PAUSE)
        else:
            result, retry_after = avoided
            self._dead_end.settle(outcome_of(result, retry_after=retry_after))


def _terms(options: PathOptions) -> object:
    """What a connection is made with; it ends when this changes."""
    return options.binding, options.delivery
