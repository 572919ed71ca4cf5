"""The console of one engine: every verb that an operator has, behind the control socket and the admin API alike."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, NamedTuple, TypeVar

import msgspec

from postroad.console import arguments as given
from postroad.console.explain import explain_message, explain_path, row, show_ended
from postroad.console.holds import Holds, one_or_all, rule_of, rule_row
from postroad.console.metrics import Sample, metrics, render
from postroad.console.overview import lags, overview
from postroad.console.parts import ConsoleError, EngineAway, Parts
from postroad.console.paths import summary
from postroad.console.pending import LIFE, PendingError, Pendings
from postroad.console.trace import Tracer
from postroad.console.trail import Trail
from postroad.console.watch import PERIOD, Alarm, PathLook, Watch
from postroad.deliver import forgive
from postroad.message import parse_message_id
from postroad.message.address import AddressError, routing_domain
from postroad.message.header import header_end
from postroad.queue import Done, Selector, SelectorError, Suspension, Where, state_named

_SAMPLE = 10
_SLICE = 200  # messages worked on between two turns of the loop
_MAX_SHOWN = 1 << 20  # octets of a message

Op = TypeVar("Op", bound=given.Operation)


class Verb(NamedTuple):
    """call(console, arguments, who). changes: it is told to the trail. confirmed: in two steps, with a token."""

    name: str
    arguments: type[Any]
    call: Callable[[Console, Any, str], Awaitable[object]]
    doc: str
    changes: bool = False
    confirmed: bool = False


class Console:
    """Construct it inside the running event loop, before the queue gives anything out: it holds what was held.
    alone: nobody else answers for this engine; else control keeps trail and suspensions (joint.py)."""

    def __init__(self, parts: Parts, *, alone: bool = True) -> None:
        self._alone = alone
        self.parts = parts
        self.watch = Watch()
        self._pendings = Pendings(lambda: secrets.token_urlsafe(18))
        self._trail = Trail(parts.data_dir / "console.log")
        self._holds = Holds(parts.data_dir / "suspensions.json")
        self._tracer = Tracer(parts.clock.wall, parts.tap)
        self._loop = asyncio.get_running_loop()
        for rule in self._holds.read():
            parts.queue.suspensions.add(rule)
        self._timer = self._loop.call_later(PERIOD, self._look)

    refusal = ConsoleError
    absence = EngineAway  # never: it is here

    def changes(self, verb: str) -> bool | None:
        """Does this verb change something? None: there is no such verb."""
        found = VERBS.get(verb)
        return None if found is None else found.changes

    def close(self) -> None:
        self._timer.cancel()
        self.parts.queue.suspensions.stop()

    def _look(self) -> None:
        self._timer = self._loop.call_later(PERIOD, self._look)
        queue, stats = self.parts.queue, self.parts.journal.stats()
        holds = queue.suspensions
        self.watch.look(
            (
                PathLook(p.binding, p.domain, p.active, p.settled, bool(holds.rules) and holds.holds(p) is not None)
                for p in queue.paths()
            ),
            stats.mail_segments,
            len(queue),
            self.parts.now(),
        )

    # --- asking -------------------------------------------------------------------------------------------------------

    async def answer(self, verb: str, arguments: dict[str, Any], who: str) -> object:
        """What msgspec can encode. who: for the trail. Raises ConsoleError with a text for the operator."""
        found = VERBS.get(verb)
        if found is None:
            raise ConsoleError(f"there is no verb {verb[:40]!r}; known: {', '.join(VERBS)}")
        try:
            decoded = msgspec.convert(arguments, found.arguments, strict=False)
            return await found.call(self, routed(decoded), who)
        except (msgspec.ValidationError, SelectorError, PendingError, ValueError) as error:
            raise ConsoleError(str(error)) from error

    async def alarms(self) -> list[Alarm]:
        parts = self.parts
        behind = await lags(parts)
        return self.watch.alarms(parts.now(), behind, parts.journal.refusal())

    async def metrics(self) -> str:
        """In the text format of Prometheus."""
        return render(await self._samples())

    async def _samples(self) -> list[Sample]:
        return metrics(self.parts, await lags(self.parts), await self.alarms())

    # --- for control --------------------------------------------------------------------------------------------------

    async def samples(self) -> list[tuple[str, float, tuple[str, ...]]]:
        """The metrics by name."""
        return [(sample.metric.name, sample.value, sample.labels) for sample in await self._samples()]

    def hold(self, rules: list[dict[str, Any]]) -> None:
        """Hold what these suspensions name, and nothing else."""
        suspensions = self.parts.queue.suspensions
        wanted = {(rule.binding, rule.domain): rule for rule in map(rule_of, rules)}
        for rule in wanted.values():
            suspensions.add(rule)
        for binding, domain in suspensions.rules.keys() - wanted.keys():
            suspensions.remove(binding, domain)

    # --- looking ------------------------------------------------------------------------------------------------------

    async def overview(self, _: given.Arguments, who: str) -> object:
        return overview(self.parts) | {"alarms": [alarm._asdict() for alarm in await self.alarms()]}

    async def queues(self, wanted: given.Paths, who: str) -> object:
        return summary(self.parts, self.watch, wanted)

    async def listing(self, wanted: given.Listing, who: str) -> object:
        where = Where(wanted.domain, wanted.binding, state_named(wanted.state))
        return {"messages": [row(found) for found in self.parts.queue.listing(where, wanted.limit)]}

    async def show(self, wanted: given.Show, who: str) -> object:
        number = parse_message_id(wanted.id)
        found = self.parts.queue.standing(number)
        message = await self.parts.queue.envelope(number)
        if found is None or message is None or message.body is None:
            return await show_ended(self.parts, number)
        body = message.body
        whole = body.trace + body.content[: _MAX_SHOWN if wanted.content else header_end(body.content)]
        return row(found) | {
            "sender": message.sender,
            "recipient": message.recipient,
            "size": len(body),
            "method": message.method,
            "notify": int(message.notify),
            "orcpt": message.orcpt,
            "ret": int(message.ret),
            "envid": message.envid,
            "smtputf8": message.smtputf8,
            "connection": message.connection,
            "context": message.context,
            "event": msgspec.json.decode(b"{" + message.event + b"}"),
            "content" if wanted.content else "header": whole[:_MAX_SHOWN].decode("utf-8", "replace"),
        }

    async def explain(self, wanted: given.One, who: str) -> object:
        return await explain_message(self.parts, self.watch, parse_message_id(wanted.id))

    async def explain_path(self, wanted: given.OnePath, who: str) -> object:
        return explain_path(self.parts, self.watch, wanted.binding, wanted.domain)

    def _goes_by(self, domain: str, path: str) -> bool:
        """Does mail of this domain go by the sessions of that path?"""
        return domain == path or self.parts.queue.rollups.carries(path, domain)

    async def suspensions(self, _: given.Arguments, who: str) -> object:
        return {"suspensions": [rule_row(rule) for rule in self.parts.queue.suspensions.rules.values()]}

    async def policies(self, _: given.Arguments, who: str) -> object:
        return {"policies": [count._asdict() for count in self.parts.policies.counts()]}

    async def trace(self, wanted: given.Trace, who: str) -> object:
        """An async iterator of lines."""
        if not wanted.domain and not wanted.peer:
            raise ConsoleError("name a domain or a peer")
        lines = await self._tracer.trace(wanted.domain, wanted.peer, wanted.seconds, self._goes_by)
        await self._tell(who, "trace", "begin", arguments=msgspec.to_builtins(wanted))
        return lines

    async def processes(self, _: given.Arguments, who: str) -> object:
        """An engine that is alone is a process that nobody keeps."""
        return {"processes": []}

    async def log(self, wanted: given.Log, who: str) -> object:
        return {"log": await self.parts.off_loop(self._trail.read, wanted.limit)}

    # --- messages -----------------------------------------------------------------------------------------------------

    async def retry(self, wanted: given.Operation, who: str) -> object:
        selected = await self._select(wanted)
        if wanted.dry_run:
            return await self._shown("retry", selected)
        operator = self.parts.queue.operator
        return await self._work("retry", wanted, selected, who, lambda some: _each(operator.retry, some))

    async def fail(self, wanted: given.Fail, who: str) -> object:
        async def work(asked: given.Fail, some: list[int]) -> dict[int, Done]:
            return await self.parts.queue.operator.fail(some, notify=asked.notify)

        return await self._confirmed("fail", wanted, who, work)

    async def delay(self, wanted: given.Delay, who: str) -> object:
        longest = float(self.parts.config().queue.max_retry_interval)
        if wanted.seconds > longest:
            raise ConsoleError(
                f"mail waits at most queue.max_retry_interval ({longest:.0f} s) for its next attempt; to hold it "
                "longer, suspend its domain or binding"
            )

        async def work(asked: given.Delay, some: list[int]) -> dict[int, Done]:
            operator = self.parts.queue.operator
            return {number: operator.delay(number, asked.seconds) for number in some}

        return await self._confirmed("delay", wanted, who, work)

    async def rebind(self, wanted: given.Rebind, who: str) -> object:
        known = {"default", *(binding.name for binding in self.parts.config().binding)}
        if not wanted.token and wanted.to not in known:
            raise ConsoleError(f"there is no binding {wanted.to[:60]!r}; known: {', '.join(sorted(known))}")

        async def work(asked: given.Rebind, some: list[int]) -> dict[int, Done]:
            return await self.parts.queue.mover.move(some, binding=asked.to)

        return await self._confirmed("rebind", wanted, who, work)

    async def reroute(self, wanted: given.Reroute, who: str) -> object:
        if not wanted.token:
            try:
                routing_domain(wanted.to)
            except AddressError as error:
                raise ConsoleError(f"`to` is no routing domain: {error}") from error

        async def work(asked: given.Reroute, some: list[int]) -> dict[int, Done]:
            return await self.parts.queue.mover.move(some, domain=routing_domain(asked.to))

        return await self._confirmed("reroute", wanted, who, work)

    async def flush(self, wanted: given.Flush, who: str) -> object:
        """What failed a moment ago is forgotten as well: a flush that runs into its own memory would do nothing."""
        domain = wanted.domain
        selected = await self._select(Selector(domain=domain, binding=wanted.binding))
        bindings = {path.binding for path in self.parts.queue.paths() if path.domain == domain}
        if wanted.binding:
            bindings &= {wanted.binding}
        forgiven = sum(forgive(self.parts.deliverer, binding, domain) for binding in bindings)
        operator = self.parts.queue.operator
        done = await self._work("flush", wanted, selected, who, lambda some: _each(operator.retry, some))
        return done | {"hosts_forgiven": forgiven}

    async def _select(self, selector: Selector) -> array[int]:
        plain = Selector(**{name: getattr(selector, name) for name in Selector.__struct_fields__})
        found = array("Q")
        async for some in self.parts.queue.select(plain):
            found.extend(some)
        return found

    async def _confirmed(
        self, verb: str, wanted: Op, who: str, work: Callable[[Op, list[int]], Awaitable[dict[int, Done]]]
    ) -> object:
        """The first step shows what is meant and gives a token, the second does it."""
        if wanted.token:
            if msgspec.to_builtins(wanted) != {"token": wanted.token}:
                raise ConsoleError("a token says all: what was shown for it is what will be done")
            pending = self._pendings.take(wanted.token, verb, who, self.parts.now())
            asked: Op = pending.asked
            return await self._work(verb, asked, pending.meant, who, lambda some: work(asked, some))
        selected = await self._select(wanted)
        shown = await self._shown(verb, selected)
        if wanted.dry_run or not selected:
            return shown
        token = self._pendings.keep(verb, who, wanted, selected, self.parts.now())
        return shown | {"token": token, "expires_in": LIFE}

    async def _shown(self, verb: str, selected: array[int]) -> dict[str, Any]:
        queue = self.parts.queue
        flying = queue.flying(selected)
        sample = []
        for number in selected[:_SAMPLE]:
            found, message = queue.standing(number), await queue.envelope(number)
            if found is not None and message is not None:
                sample.append(row(found) | {"sender": message.sender, "recipient": message.recipient})
        return {"verb": verb, "count": len(selected), "in_flight": flying, "sample": sample}

    async def _work(
        self,
        verb: str,
        wanted: given.Operation | given.Flush,
        selected: array[int],
        who: str,
        work: Callable[[list[int]], Awaitable[dict[int, Done]]],
    ) -> dict[str, Any]:
        asked = msgspec.to_builtins(wanted)
        if len(asked.get("ids", ())) > _SAMPLE:
            asked["ids"] = [*asked["ids"][:_SAMPLE], "..."]
        await self._tell(who, verb, "begin", arguments=asked, count=len(selected))
        became: Counter[str] = Counter()
        for start in range(0, len(selected), _SLICE):
            done = await work(list(selected[start : start + _SLICE]))
            became.update(what.value for what in done.values())
            await asyncio.sleep(0)
        await self._tell(who, verb, "end", became=dict(became))
        return {"verb": verb, "count": len(selected), **became}

    async def _tell(self, who: str, verb: str, phase: str, **about: Any) -> None:
        if not self._alone:
            return
        try:
            await self.parts.off_loop(self._trail.write, self.parts.clock.wall(), who, verb, phase, about)
        except OSError as error:
            if phase == "begin":
                raise ConsoleError(f"nothing was done: the trail can't be written ({error})") from error

    # --- paths --------------------------------------------------------------------------------------------------------

    async def suspend(self, wanted: given.Suspend, who: str) -> object:
        one_or_all(wanted)
        until = inf if wanted.seconds is None else self.parts.clock.wall() + wanted.seconds
        rule = Suspension(wanted.binding, wanted.domain, until, wanted.note)
        suspensions = self.parts.queue.suspensions
        await self._tell(who, "suspend", "begin", arguments=rule_row(rule))
        before = suspensions.rules.get((rule.binding, rule.domain))
        suspensions.add(rule)
        try:
            await self._write_holds()
        except ConsoleError:
            suspensions.remove(rule.binding, rule.domain)
            if before is not None:
                suspensions.add(before)
            raise
        await self._tell(who, "suspend", "end")
        return rule_row(rule)

    async def resume(self, wanted: given.Resume, who: str) -> object:
        one_or_all(wanted)
        await self._tell(who, "resume", "begin", arguments={"binding": wanted.binding, "domain": wanted.domain})
        suspensions = self.parts.queue.suspensions
        rule = suspensions.remove(wanted.binding, wanted.domain)
        if rule is None and wanted.domain:
            with contextlib.suppress(AddressError):
                rule = suspensions.remove(wanted.binding, routing_domain(wanted.domain))
        if rule is None:
            held = ", ".join(f"{r.binding or '*'}/{r.domain or '*'}" for r in suspensions.rules.values()) or "nothing"
            raise ConsoleError(f"this is not suspended; what is (binding/domain): {held}")
        await self._write_holds()
        await self._tell(who, "resume", "end")
        return rule_row(rule)

    async def _write_holds(self) -> None:
        try:
            await self.parts.off_loop(self._holds.write, list(self.parts.queue.suspensions.rules.values()))
        except OSError as error:
            raise ConsoleError(f"the suspensions can't be written, so a restart would forget it: {error}") from error


_PATHS = (given.Paths, given.OnePath, given.Trace)


def routed(wanted: Any) -> Any:
    """With its domain as paths are named, A-labels in lower case: a stop that names one otherwise would stop nothing.
    Raises AddressError. What is suspended already can be named as it stands; so can a path of several domains, whose
    name has a blank in it."""
    domain = getattr(wanted, "domain", "")
    if not domain or isinstance(wanted, given.Resume) or (isinstance(wanted, _PATHS) and " " in domain):
        return wanted
    return msgspec.structs.replace(wanted, domain=routing_domain(domain))


async def _each(work: Callable[[int], Done], numbers: list[int]) -> dict[int, Done]:
    return {number: work(number) for number in numbers}


VERBS = {
    verb.name: verb
    for verb in (
        Verb("overview", given.Arguments, Console.overview, "How the engine is: counts, journal, delivery, alarms."),
        Verb("processes", given.Arguments, Console.processes, "The processes of the server, and how they are."),
        Verb("queue-summary", given.Paths, Console.queues, "How many messages wait, path by path, the fullest first."),
        Verb("queue-list", given.Listing, Console.listing, "The first messages, in the order they will be given out."),
        Verb(
            "message-show",
            given.Show,
            Console.show,
            "Envelope, contexts and header of a message; of one that has ended what its events tell.",
        ),
        Verb("message-explain", given.One, Console.explain, "Where a message is, why, until when; every attempt."),
        Verb("path-explain", given.OnePath, Console.explain_path, "What limits a path now; its hosts and connections."),
        Verb("retry", given.Operation, Console.retry, "Make delayed messages due now.", True),
        Verb(
            "fail", given.Fail, Console.fail, "End messages undelivered, with a bounce event of class 25.", True, True
        ),
        Verb("delay", given.Delay, Console.delay, "Try messages again later, not now.", True, True),
        Verb("rebind", given.Rebind, Console.rebind, "Put messages on another binding.", True, True),
        Verb("reroute", given.Reroute, Console.reroute, "Send messages to another domain's hosts.", True, True),
        Verb("flush", given.Flush, Console.flush, "Try everything of a domain now, failed hosts too.", True),
        Verb("suspend", given.Suspend, Console.suspend, "Give no mail of a path, domain or binding out.", True),
        Verb("resume", given.Resume, Console.resume, "Let go of what was suspended.", True),
        Verb("suspensions", given.Arguments, Console.suspensions, "What is suspended."),
        Verb(
            "policies", given.Arguments, Console.policies, "The hooks of plug-ins and rules, and what they have said."
        ),
        Verb("trace", given.Trace, Console.trace, "SMTP dialogues as they pass, a JSON line for each of theirs."),
        Verb("log", given.Log, Console.log, "Who did what, the newest last."),
    )
}
