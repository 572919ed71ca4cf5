"""The far end of the fault scenarios: a lab provider in a thread of the test process, so that it outlives the servers
that are killed, and remembers every message it took responsibility for."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from postroad.lab.ledger import Ledger
from postroad.lab.provider import Provider
from postroad.lab.rules import Case, Rule, RuleBook, Step

T = TypeVar("T")

_PATIENCE = 30.0  # seconds a call into the loop may take before the test is called broken


class LoopThread:
    """An event loop in a thread of its own. `with` starts and ends it."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="far end", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it there; its result, or what it raises."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_PATIENCE)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call it there, in between two callbacks of the loop."""
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(function(*arguments))
            except BaseException as error:
                answer.set_exception(error)

        self._loop.call_soon_threadsafe(work)
        return answer.result(_PATIENCE)


class Taken(NamedTuple):
    """One recipient of one message that the far end took responsibility for. at: time.monotonic() of the final dot."""

    recipient: str
    sender: str
    at: float
    content: bytes


class _TakesAtTheDot(RuleBook):
    """Takes the message when its final dot is there, however late the rule sends the reply, and even when it hangs up
    instead. That is the receiver by which duplicates come about; the plain provider takes it with its reply."""

    def __init__(self, rules: Iterable[Rule], rng: random.Random, take: Callable[[Case], None]) -> None:
        super().__init__(rules, rng)
        self._take = take

    def has(self, step: Step) -> bool:
        return step == "message" or super().has(step)

    def match(self, step: Step, case: Case, now: float) -> Rule | None:
        rule = super().match(step, case, now)
        if step == "message" and (rule is None or rule.reply[:1] in ("", "2")):
            self._take(case)
        return rule


class _Recording(Provider):
    def __init__(self, take: Callable[[Case], None], rng: random.Random, rules: Iterable[Rule]) -> None:
        super().__init__("far.test", rng=rng, ledger=Ledger())
        self._take = take
        self._chance = rng
        self.set_rules(rules)

    def set_rules(self, rules: Iterable[Rule]) -> None:
        self.rules = _TakesAtTheDot(rules, self._chance, self._take)


class FarEnd(LoopThread):
    """taken: in the order of arrival; only ever appended to, so any thread may read it.

    rules: how it behaves (see lab.rules); with none it takes everything at once. inspect: called with each message in
    the far end's thread. keep: keep the contents in `taken`, else b"".
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        seed: int = 1,
        keep: bool = True,
        inspect: Callable[[Taken], None] | None = None,
    ) -> None:
        self.taken: list[Taken] = []
        self.port = 0
        self._keep = keep
        self._inspect = inspect
        self._provider = _Recording(self._take, random.Random(seed), rules)

    def __enter__(self) -> Self:
        super().__enter__()
        self.port = self.run(self._provider.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self._provider.stop())
        super().__exit__(kind, error, trace)

    def behave(self, *rules: Rule) -> None:
        """From the next step of each session on."""
        self.call(self._provider.set_rules, rules)

    @property
    def sessions(self) -> int:
        return self._provider.sessions

    def copies(self, since: int = 0) -> Counter[str]:
        """How often each recipient address was taken; the tests give each message an address of its own."""
        return Counter(taken.recipient for taken in self.taken[since:])

    def _take(self, case: Case) -> None:
        at = time.monotonic()
        for recipient in case.recipients:
            taken = Taken(recipient, case.sender, at, case.content)
            if self._inspect is not None:
                self._inspect(taken)
            self.taken.append(taken if self._keep else taken._replace(content=b""))
