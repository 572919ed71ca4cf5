"""The console of a whole server: asks all engines, and answers as one engine would that held everything.

It alone keeps the trail and the suspensions; engines are told what to hold. What an engine can't be asked for is said
to be missing, and the rest is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from postroad.console import arguments as given
from postroad.console.console import VERBS, Verb, routed
from postroad.console.holds import Holds, one_or_all, rule_row
from postroad.console.merge import SAMPLE, merge
from postroad.console.metrics import ALARM, RESTARTS, UP, Sample, join, render
from postroad.console.parts import ConsoleError, EngineAway
from postroad.console.pending import LIFE, PendingError, Pendings
from postroad.console.trace import network_of
from postroad.console.trail import Trail
from postroad.message.address import AddressError, routing_domain
from postroad.queue import SelectorError, Suspension

_PATIENCE = 8.0  # seconds that an engine may take for a look; most who ask wait for 10
_ALL_PATHS = 100_000  # asked of each engine, so that the fullest of all are among them
_LINES = 1000  # lines of a trace that wait for whoever reads them


class Line(Protocol):
    """How one engine is asked."""

    async def ask(self, verb: str, arguments: Mapping[str, Any], who: str = "") -> Any:
        """Raises ConsoleError when it says no, EngineAway."""

    def follow(self, verb: str, arguments: Mapping[str, Any], who: str = "") -> AsyncIterator[Any]:
        """The items of an answer that comes piece by piece: None when it has begun, then all others. Raises as `ask`
        before the first."""


class Process(NamedTuple):
    """since, next_try: Unix seconds; next_try is 0 while it runs. stuck: it runs, but does not answer."""

    name: str
    pid: int
    since: float
    restarts: int
    up: bool
    next_try: float
    stuck: bool = False


class Told(NamedTuple):
    """What came of asking: answers, refusals and absences by engine."""

    answers: dict[int, Any]
    refused: dict[int, ConsoleError]
    missing: list[int]


class _Meant(NamedTuple):
    """A selection that waits for the word: what each engine keeps it under."""

    tokens: dict[int, str]
    total: int


class JointConsole:
    """lines: by engine. processes(): those of the server now. wall: Unix seconds. Construct it inside the running event
    loop. Raises HoldsError."""

    refusal = ConsoleError
    absence = EngineAway

    def __init__(
        self,
        lines: Mapping[int, Line],
        data_dir: Path,
        *,
        wall: Callable[[], float],
        processes: Callable[[], Iterable[Process]] = tuple,
    ) -> None:
        self._lines = lines
        self._wall = wall
        self._processes = processes
        self._loop = asyncio.get_running_loop()
        self._pendings = Pendings(lambda: secrets.token_urlsafe(18))
        self._trail = Trail(data_dir / "console.log")
        self._holds = Holds(data_dir / "suspensions.json")
        self._rules = {(rule.binding, rule.domain): rule for rule in self._holds.read()}

    def changes(self, verb: str) -> bool | None:
        """Does this verb change something? None: there is no such verb."""
        found = VERBS.get(verb)
        return None if found is None else found.changes

    async def answer(self, verb: str, arguments: dict[str, Any], who: str) -> object:
        """What msgspec can encode; for a trace an async iterator. Raises ConsoleError with a text for the operator."""
        found = VERBS.get(verb)
        if found is None:
            raise ConsoleError(f"there is no verb {verb[:40]!r}; known: {', '.join(VERBS)}")
        try:
            wanted = msgspec.convert(arguments, found.arguments, strict=False)
            own = _OWN.get(verb)
            if own is not None:
                return await own(self, routed(wanted), who)
            if found.confirmed:
                return await self._confirmed(found, wanted, arguments, who)
            if found.changes and not getattr(wanted, "dry_run", False):
                return await self._change(found, arguments, who)
            return await self._look(verb, arguments, who)
        except (msgspec.ValidationError, SelectorError, PendingError, ValueError) as error:
            raise ConsoleError(str(error)) from error

    # --- engines ------------------------------------------------------------------------------------------------------

    async def ask(self, verb: str, arguments: Mapping[int, Mapping[str, Any]], who: str, *, patient: bool) -> Told:
        """Ask these engines. patient: for as long as it takes. One that is known to be stuck is not waited for."""
        stuck = {one.name for one in self._processes() if one.stuck}

        async def one(number: int) -> Any:
            if f"engine-{number}" in stuck:
                return EngineAway()
            try:
                async with asyncio.timeout(None if patient else _PATIENCE):
                    return await self._lines[number].ask(verb, arguments[number], who)
            except TimeoutError:
                return EngineAway()
            except (ConsoleError, EngineAway) as error:
                return error

        told = Told({}, {}, [])
        for number, found in zip(arguments, await asyncio.gather(*map(one, arguments)), strict=True):
            if isinstance(found, ConsoleError):
                told.refused[number] = found
            elif isinstance(found, EngineAway):
                told.missing.append(number)
            else:
                told.answers[number] = found
        return told

    async def ask_all(self, verb: str, arguments: Mapping[str, Any], who: str = "", *, patient: bool = False) -> Told:
        return await self.ask(verb, dict.fromkeys(self._lines, arguments), who, patient=patient)

    def _merged(self, verb: str, arguments: Mapping[str, Any], told: Told) -> Any:
        """Raises ConsoleError when no engine had an answer."""
        if not told.answers:
            if told.refused:
                error = next(iter(told.refused.values()))
                raise ConsoleError(f"{error}{self._but(told)}") if told.missing else error
            raise ConsoleError("no engine answers: they are being started or have fallen (postroad console status)")
        merged = merge(verb, arguments, told.answers)
        if told.missing and isinstance(merged, dict):
            merged |= {"missing": told.missing}
        return merged

    def _but(self, told: Told) -> str:
        return f" (engine {', '.join(map(str, told.missing))} does not answer and may know more)"

    async def status(self) -> Any:
        """Of all engines, as serve.EngineStats. While one is away it is not known what it holds."""
        told = await self.ask_all("status", {})
        merged = list(self._merged("status", {}, told))
        if told.missing:
            merged[2] = None
        return merged

    async def queues(self) -> Any:
        return self._merged("queues", {}, await self.ask_all("queues", {}))

    async def met(self, number: int) -> None:
        """An engine has come (again): tell it what is held now. Raises as Line.ask."""
        await self._lines[number].ask("hold", {"rules": self._held()})

    # --- looking ------------------------------------------------------------------------------------------------------

    async def _look(self, verb: str, arguments: dict[str, Any], who: str) -> Any:
        asked = arguments
        if verb == "queue-summary" and len(self._lines) > 1:
            asked = arguments | {"limit": _ALL_PATHS}
            arguments = {"limit": int(arguments.get("limit", 100))}
        elif "limit" in arguments:
            arguments = arguments | {"limit": int(arguments["limit"])}
        return self._merged(verb, arguments, await self.ask_all(verb, asked, who))

    async def overview(self, _: given.Arguments, who: str) -> object:
        told: dict[str, Any] = await self._look("overview", {}, who)
        return told | {"alarms": told["alarms"] + self._alarms()}

    def _alarms(self) -> list[dict[str, str]]:
        return [
            {"name": "process_fell", "about": one.name, "text": f"{one.name} is away{self._next(one)}"}
            for one in self._processes()
            if not one.up and one.next_try
        ] + [
            {"name": "process_stuck", "about": one.name, "text": f"{one.name} runs, but does not answer"}
            for one in self._processes()
            if one.stuck
        ]

    def _next(self, process: Process) -> str:
        return f"; it is started again in {max(0.0, process.next_try - self._wall()):.0f} s" if process.next_try else ""

    async def processes(self, _: given.Arguments, who: str) -> object:
        return {"processes": [process._asdict() for process in self._processes()]}

    async def metrics(self) -> str:
        """In the text format of Prometheus."""
        told = await self.ask_all("samples", {})
        samples = join(told.answers)
        ours = Counter(alarm["name"] for alarm in self._alarms())
        samples = [
            sample._replace(value=sample.value + ours[sample.labels[0]]) if sample.metric is ALARM else sample
            for sample in samples
        ]
        processes = list(self._processes())
        samples += [Sample(UP, 1 if one.up else 0, (one.name,)) for one in processes]
        samples += [Sample(RESTARTS, one.restarts, (one.name,)) for one in processes]
        return render(samples)

    async def log(self, wanted: given.Log, who: str) -> object:
        return {"log": await self._off_loop(self._trail.read, wanted.limit)}

    async def trace(self, wanted: given.Trace, who: str) -> object:
        """An async iterator of lines, of all engines as they come."""
        asked = msgspec.to_builtins(wanted)
        if not wanted.domain and not wanted.peer:
            raise ConsoleError("name a domain or a peer")
        network_of(wanted.peer)
        streams: list[AsyncIterator[Any]] = []
        for line in self._lines.values():
            stream = line.follow("trace", asked, who)
            with contextlib.suppress(EngineAway):
                await anext(stream)  # says that it has begun
                streams.append(stream)
        if not streams:
            raise ConsoleError("no engine answers: they are being started or have fallen (postroad console status)")
        await self._tell(who, "trace", "begin", arguments=asked)
        return _mingled(streams)

    # --- changing -----------------------------------------------------------------------------------------------------

    async def _change(self, verb: Verb, arguments: dict[str, Any], who: str) -> Any:
        await self._tell(who, verb.name, "begin", arguments=_cut(arguments))
        told = await self.ask_all(verb.name, arguments, who, patient=True)
        return await self._ended(verb.name, arguments, told, who)

    async def _confirmed(self, verb: Verb, wanted: given.Operation, arguments: dict[str, Any], who: str) -> Any:
        """The first step shows what is meant and gives a token, the second does it."""
        if wanted.token:
            if msgspec.to_builtins(wanted) != {"token": wanted.token}:
                raise ConsoleError("a token says all: what was shown for it is what will be done")
            pending = self._pendings.take(wanted.token, verb.name, who, self._loop.time())
            meant: _Meant = pending.meant
            await self._tell(who, verb.name, "begin", arguments=_cut(pending.asked), count=meant.total)
            tokens = {number: {"token": token} for number, token in meant.tokens.items()}
            told = await self.ask(verb.name, tokens, who, patient=True)
            return await self._ended(verb.name, pending.asked, told, who)
        told = await self.ask_all(verb.name, arguments, who, patient=True)
        shown: dict[str, Any] = dict(self._merged(verb.name, arguments, told))
        tokens_of = {number: one["token"] for number, one in told.answers.items() if "token" in one}
        if not tokens_of:
            return shown
        meant = _Meant(tokens_of, shown["count"])
        shown["token"] = self._pendings.keep(verb.name, who, arguments, meant, self._loop.time())
        shown["expires_in"] = LIFE
        return shown

    async def _ended(self, verb: str, arguments: dict[str, Any], told: Told, who: str) -> Any:
        """Tell the trail what was done, and by whom not."""
        away = {f"engine_{number}": "does not answer" for number in told.missing}
        away |= {f"engine_{number}": str(error) for number, error in told.refused.items()}
        try:
            done: dict[str, Any] = dict(self._merged(verb, arguments, told))
        except ConsoleError as error:
            await self._tell(who, verb, "end", failed=str(error))
            raise
        became = {name: value for name, value in done.items() if name not in ("verb", "count", "missing")}
        await self._tell(who, verb, "end", became=became, **({"not_done": away} if away else {}))
        if told.refused:
            done["not_done"] = {str(number): str(error) for number, error in told.refused.items()}
        return done

    async def _tell(self, who: str, verb: str, phase: str, **about: Any) -> None:
        try:
            await self._off_loop(self._trail.write, self._wall(), who, verb, phase, about)
        except OSError as error:
            if phase == "begin":
                raise ConsoleError(f"nothing was done: the trail can't be written ({error})") from error

    async def tell(self, who: str, verb: str, **about: Any) -> None:
        """What was done that is no verb of the console. Raises ConsoleError, then it must not be done."""
        await self._tell(who, verb, "begin", **about)

    # --- what is held -------------------------------------------------------------------------------------------------

    async def suspensions(self, _: given.Arguments, who: str) -> object:
        return {"suspensions": self._held()}

    def _held(self) -> list[dict[str, Any]]:
        now = self._wall()
        return [rule_row(rule) for rule in self._rules.values() if rule.until > now]

    async def suspend(self, wanted: given.Suspend, who: str) -> object:
        one_or_all(wanted)
        until = inf if wanted.seconds is None else self._wall() + wanted.seconds
        rule = Suspension(wanted.binding, wanted.domain, until, wanted.note)
        await self._tell(who, "suspend", "begin", arguments=rule_row(rule))
        rules = self._rules | {(rule.binding, rule.domain): rule}
        return await self._hold(rules, rule, "suspend", who)

    async def resume(self, wanted: given.Resume, who: str) -> object:
        one_or_all(wanted)
        await self._tell(who, "resume", "begin", arguments={"binding": wanted.binding, "domain": wanted.domain})
        key = wanted.binding, wanted.domain
        if key not in self._rules and wanted.domain:
            with contextlib.suppress(AddressError):
                key = wanted.binding, routing_domain(wanted.domain)
        rule = self._rules.get(key)
        if rule is None:
            held = ", ".join(f"{r.binding or '*'}/{r.domain or '*'}" for r in self._rules.values()) or "nothing"
            raise ConsoleError(f"this is not suspended; what is (binding/domain): {held}")
        return await self._hold({k: r for k, r in self._rules.items() if k != key}, rule, "resume", who)

    async def _hold(self, rules: dict[tuple[str, str], Suspension], rule: Suspension, verb: str, who: str) -> Any:
        """Written first: an engine that is started meanwhile reads the file."""
        now = self._wall()
        rules = {key: each for key, each in rules.items() if each.until > now}
        try:
            await self._off_loop(self._holds.write, list(rules.values()))
        except OSError as error:
            raise ConsoleError(f"the suspensions can't be written, so a restart would forget it: {error}") from error
        self._rules = rules
        told = await self.ask_all("hold", {"rules": self._held()})
        await self._tell(who, verb, "end")
        return rule_row(rule) | ({"missing": told.missing} if told.missing else {})

    async def _off_loop(self, work: Callable[..., Any], *arguments: object) -> Any:
        return await self._loop.run_in_executor(None, work, *arguments)


_OWN: dict[str, Callable[[JointConsole, Any, str], Any]] = {
    "overview": JointConsole.overview,
    "processes": JointConsole.processes,
    "log": JointConsole.log,
    "trace": JointConsole.trace,
    "suspend": JointConsole.suspend,
    "resume": JointConsole.resume,
    "suspensions": JointConsole.suspensions,
}


def _cut(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for the trail."""
    told = {name: value for name, value in asked.items() if value not in ("", None, [], False)}
    if len(told.get("ids", ())) > SAMPLE:
        told["ids"] = [*told["ids"][:SAMPLE], "..."]
    return told


async def _mingled(streams: list[AsyncIterator[Any]]) -> AsyncIterator[Any]:
    """The items of all, as they come; it ends with the last of them. An engine that falls ends its own alone."""
    lines: asyncio.Queue[Any] = asyncio.Queue(_LINES)
    end = object()

    async def pump(stream: AsyncIterator[Any]) -> None:
        try:
            with contextlib.suppress(ConsoleError, EngineAway):
                async for item in stream:
                    await lines.put(item)
        except asyncio.CancelledError:
            return
        await lines.put(end)

    pumps = [asyncio.ensure_future(pump(stream)) for stream in streams]
    left = len(pumps)
    try:
        while left:
            item = await lines.get()
            if item is end:
                left -= 1
            else:
                yield item
    finally:
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
