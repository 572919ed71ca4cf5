"""Policy on the way out: a Supply in front of the queue, in which hooks look at each message that is about to be tried,
and at each attempt that is over. What the door decided about a message (intake.py) comes to its end here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from postroad.message import Body, Message, Outcome, Reply, Stage, Supply
from postroad.message import Verdict as Ended
from postroad.policy.facts import Outgoing, Replied
from postroad.policy.hooks import Chain, Hooks
from postroad.policy.intake import DECIDED
from postroad.policy.verdict import Fail, Refusal, Retry, Verdict

_AT_ONCE = 200  # messages that come to their end within one `take`
_ADMIN = 25  # bounce class: an operator or a list decided
_AFTER = {Ended.DELIVERED: "delivered", Ended.DEFERRED: "deferred", Ended.FAILED: "failed"}

Waiting = Coroutine[Any, Any, Verdict | None]


class Outbound:
    """hooks(): those of the present generation. wake(binding, domain): that path has something to take."""

    def __init__(self, supply: Supply, hooks: Callable[[], Hooks], wake: Callable[[str, str], None]) -> None:
        self._supply = supply
        self._hooks = hooks
        self._wake = wake
        self._held: dict[int, tuple[Body, Waiting]] = {}  # messages whose hook has to wait, by id
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting = supply.waiting

    def take(self, binding: str, domain: str) -> Message | None:
        for _ in range(_AT_ONCE):
            message = self._supply.take(binding, domain)
            if message is None or message.body is None:
                return message  # what is not read yet is looked at when it is
            said = self._before(message)
            if said is None:
                return message
            if not isinstance(said, Outcome):
                self._held[message.id] = message.body, said
                message.body = None  # so that it is asked for, which may take its time
                return message
            self._supply.settle(message, said)
        asyncio.get_running_loop().call_soon(self._wake, binding, domain)
        return None

    async def load(self, message: Message) -> bool:
        held = self._held.pop(message.id, None)
        if held is None:
            if not await self._supply.load(message):
                return False
            said = self._before(message)
        else:
            message.body, said = held
        if said is not None and not isinstance(said, Outcome):
            said = _ending(await said)
        if said is None:
            return True
        self._supply.settle(message, said)
        return False

    def _before(self, message: Message) -> Outcome | Waiting | None:
        if message.context and (decided := message.context.get(DECIDED)):
            return _decided(decided)
        chain = self._hooks().chain("before_attempt")
        if not chain:
            return None
        said = self._hooks().ask(chain, _outgoing(message))
        return _ending(said) if said is None or isinstance(said, Verdict) else said

    def settle(self, message: Message, outcome: Outcome) -> None:
        hooks = self._hooks()
        chain = hooks.chain("reply") if outcome.counts else ()
        if not chain:
            self._settled(message, outcome)
            return
        said = hooks.ask(chain, Replied(_outgoing(message), outcome))
        if said is None or isinstance(said, Verdict):
            self._settled(message, _changed(outcome, said))
            return

        async def later() -> None:
            self._settled(message, _changed(outcome, await said))

        self._start(later())

    def _settled(self, message: Message, outcome: Outcome) -> None:
        chain: Chain = self._hooks().chain(_AFTER[outcome.verdict]) if outcome.counts else ()
        facts = Replied(_outgoing(message), outcome) if chain else None
        self._supply.settle(message, outcome)
        if facts is not None:
            said = self._hooks().ask(chain, facts)
            if said is not None and not isinstance(said, Verdict):
                self._start(_await(said))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for hooks that are under way. Their time is limited, so this is too."""
        while self._tasks:
            await asyncio.wait(self._tasks)


async def _await(said: Waiting) -> None:
    await said


def _outgoing(message: Message) -> Outgoing:
    return Outgoing(
        message.id,
        message.sender,
        message.recipient,
        message.domain,
        message.binding,
        message.attempts,
        message.context,
    )


def _decided(decided: str) -> Outcome:
    verb, _, text = decided.partition(" ")
    if verb == "discard":
        reply = Reply(550, f"5.7.1 {text}")
        return Outcome(Ended.FAILED, reply, Stage.NOT_CONNECTED, internal=True, silent=True)
    code, _, text = text.partition(" ")
    if verb == "unwanted":
        # Not internal: programs look for its words, which stand first then (api.md 2.7).
        return Outcome(Ended.FAILED, Reply(int(code), text), Stage.NOT_CONNECTED, bounce_class=_ADMIN)
    return Outcome(Ended.FAILED, Reply(int(code), text), Stage.NOT_CONNECTED, internal=True)


def _ending(said: Verdict | None) -> Outcome | None:
    """What a verdict before an attempt makes of the message; None: it is tried."""
    if isinstance(said, Fail):
        return Outcome(Ended.FAILED, Reply(550, said.text), Stage.NOT_CONNECTED, internal=True)
    if isinstance(said, Retry):
        reply = Reply(450, said.text or "4.7.1 put off by policy")
        return Outcome(Ended.DEFERRED, reply, Stage.NOT_CONNECTED, internal=True, retry_after=said.seconds)
    if isinstance(said, Refusal):  # a hook that failed
        return Outcome(Ended.DEFERRED, said.reply, Stage.NOT_CONNECTED, internal=True)
    return None


def _changed(outcome: Outcome, said: Verdict | None) -> Outcome:
    """A delivery stays one, whatever a hook says: the mail is gone."""
    if outcome.verdict is Ended.DELIVERED:
        return outcome
    if isinstance(said, Fail):
        return outcome._replace(verdict=Ended.FAILED)
    if isinstance(said, Retry):
        return outcome._replace(verdict=Ended.DEFERRED, retry_after=said.seconds)
    return outcome
