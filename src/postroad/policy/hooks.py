"""The hooks of one generation of the configuration, and how a phase asks them.

Plain functions are called where we stand; only when one of them has to wait (an `async` hook, a tarpit, a thread) does
the phase become a coroutine. A hook that raises, takes too long or returns what its phase does not know is logged and
counted, and the phase ends as its plug-in's `on_error` says: mail is never lost by it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from postroad.policy.phase import PHASES
from postroad.policy.verdict import Accept, Continue, Tarpit, Tempfail, Verdict

Call = Callable[[Any], "Verdict | Awaitable[Verdict | None] | None"]
OnError = Literal["tempfail", "continue"]

# What a client hears of a hook that failed. On the way out the attempt is put off.
TROUBLE = Tempfail("4.3.0 A check could not be made; try again later", 451)
_THREADS = 16


@dataclass(slots=True, eq=False)
class Hook:
    """One function of a plug-in, or one rule. listeners: names of those it is for, empty for all. time_limit: seconds,
    of what waits; a plain function that holds the loop can't be interrupted. thread: call it in a thread of its own.

    calls, errors, said (how often it returned what) count since this generation was loaded.
    """

    plugin: str
    phase: str
    call: Call
    listeners: frozenset[str] = frozenset()
    time_limit: float = 5.0
    on_error: OnError = "tempfail"
    thread: bool = False
    calls: int = 0
    errors: int = 0
    said: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        return f"{self.plugin}.{self.phase}"


Chain = tuple[Hook, ...]


class Hooks:
    """told(hook, error): a hook failed; called with the exception, for the log."""

    def __init__(self, hooks: Iterable[Hook] = (), told: Callable[[Hook, BaseException], None] | None = None) -> None:
        self.all: list[Hook] = list(hooks)
        for hook in self.all:
            if hook.phase not in PHASES:
                raise ValueError(f"there is no phase {hook.phase!r}; known: {', '.join(PHASES)}")
        self._told = told or (lambda hook, error: None)
        self._chains: dict[tuple[str, str], Chain] = {}
        self._threads: ThreadPoolExecutor | None = None

    def chain(self, phase: str, listener: str = "") -> Chain:
        """The hooks of a phase for what came in by this listener, in the order of the configuration."""
        found = self._chains.get((phase, listener))
        if found is None:
            found = self._chains[phase, listener] = tuple(
                hook for hook in self.all if hook.phase == phase and (not hook.listeners or listener in hook.listeners)
            )
        return found

    def ask(self, chain: Chain, facts: object) -> Verdict | Coroutine[Any, Any, Verdict | None] | None:
        """The first verdict that is not to go on, None when all say so; or a coroutine for it, when one has to wait."""
        for at, hook in enumerate(chain):
            said = self._call(hook, facts)
            if said is None:
                continue
            if not isinstance(said, Verdict) or isinstance(said, Tarpit):
                return self._wait(chain, at, facts, said)
            return None if isinstance(said, Accept) else said
        return None

    def _call(self, hook: Hook, facts: object) -> Verdict | Awaitable[Verdict | None] | None:
        hook.calls += 1
        if hook.thread:
            return self._in_thread(hook, facts)
        try:
            said = hook.call(facts)
        except Exception as error:
            return self._failed(hook, error)
        return said if inspect.isawaitable(said) else self._known(hook, said)

    async def _wait(
        self, chain: Chain, at: int, facts: object, said: Tarpit | Awaitable[Verdict | None]
    ) -> Verdict | None:
        """From the hook that has to wait, to the end of the chain."""
        verdict = said if isinstance(said, Tarpit) else await self._heard(chain[at], said)
        if isinstance(verdict, Tarpit):
            await asyncio.sleep(verdict.seconds)
        elif verdict is not None:
            return None if isinstance(verdict, Accept) else verdict
        rest = self.ask(chain[at + 1 :], facts)
        return rest if rest is None or isinstance(rest, Verdict) else await rest

    async def _heard(self, hook: Hook, said: Awaitable[Verdict | None]) -> Verdict | None:
        try:
            return self._known(hook, await asyncio.wait_for(said, hook.time_limit))
        except TimeoutError:
            return self._failed(hook, TimeoutError(f"{hook.name} took longer than {hook.time_limit:g} s"))
        except Exception as error:
            return self._failed(hook, error)

    def _in_thread(self, hook: Hook, facts: object) -> Awaitable[Verdict | None]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "policy")
        call: Callable[[Any], Verdict | None] = hook.call  # type: ignore[assignment]
        return asyncio.get_running_loop().run_in_executor(self._threads, call, facts)

    def _known(self, hook: Hook, said: object) -> Verdict | None:
        """What it said, if its phase knows that. None: go on."""
        if said is None:
            return None
        hook.said[type(said).__name__.lower()] += 1
        if isinstance(said, Verdict) and isinstance(said, PHASES[hook.phase].verdicts):
            return None if isinstance(said, Continue) else said
        names = ", ".join(kind.__name__ for kind in PHASES[hook.phase].verdicts)
        return self._failed(hook, TypeError(f"{hook.name} returned {said!r}; here it may return None, {names}"))

    def _failed(self, hook: Hook, error: Exception) -> Verdict | None:
        hook.errors += 1
        self._told(hook, error)
        return TROUBLE if hook.on_error == "tempfail" else None

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
