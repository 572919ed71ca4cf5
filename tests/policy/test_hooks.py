"""How a phase asks its hooks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from postroad.policy import Accept, Connect, Continue, Discard, Hook, Hooks, Reject, Session, Tarpit, Tempfail, Verdict


async def ask(hooks: Hooks, phase: str = "connect", listener: str = "") -> Verdict | None:
    said = hooks.ask(hooks.chain(phase, listener), Connect(Session()))
    return said if said is None or isinstance(said, Verdict) else await said


def hook(said: object, **more: Any) -> Hook:
    return Hook(more.pop("plugin", "test"), "connect", lambda facts: said, **more)  # type: ignore[arg-type,return-value]


def raising(error: Exception) -> Callable[[object], None]:
    def call(facts: object) -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ([None, Continue(), None], None),
        ([None, Reject("no"), Tempfail("later")], Reject("no")),
        ([Accept(), Reject("no")], None),
        ([], None),
    ],
)
async def test_the_first_that_has_something_to_say(said: list[Verdict | None], verdict: Verdict | None) -> None:
    hooks = Hooks([hook(one) for one in said])
    assert await ask(hooks) == verdict


async def test_plain_functions_never_wait() -> None:
    hooks = Hooks([hook(None), hook(Reject("no"))])
    assert hooks.ask(hooks.chain("connect"), Connect(Session())) == Reject("no")


async def test_async_threaded_and_plain_hooks_in_order() -> None:
    order: list[str] = []

    async def waits(facts: object) -> None:
        await asyncio.sleep(0)
        order.append("async")

    def blocks(facts: object) -> None:
        assert threading.current_thread() is not threading.main_thread()
        order.append("thread")

    def plain(facts: object) -> Verdict:
        order.append("plain")
        return Reject("no")

    hooks = Hooks([Hook("a", "connect", waits), Hook("b", "connect", blocks, thread=True), Hook("c", "connect", plain)])
    assert await ask(hooks) == Reject("no")
    assert order == ["async", "thread", "plain"]
    hooks.close()


async def test_a_tarpit_is_waited_for_and_then_the_next_is_asked() -> None:
    hooks = Hooks([hook(Tarpit(0.001)), hook(Reject("no"))])
    assert await ask(hooks) == Reject("no")


async def test_hooks_of_a_listener() -> None:
    hooks = Hooks([hook(Reject("no"), listeners=frozenset({"127.0.0.1:25"}))])
    assert await ask(hooks, listener="127.0.0.1:25") == Reject("no")
    assert await ask(hooks, listener="127.0.0.1:587") is None


async def forever(facts: object) -> Verdict | None:
    await asyncio.Event().wait()
    return None


async def fails(facts: object) -> Verdict | None:
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    "call",
    [
        raising(RuntimeError("boom")),
        fails,
        forever,
        lambda facts: "a text",
        lambda facts: Discard("not before the greeting"),
        lambda facts: Reject,
    ],
)
@pytest.mark.parametrize("on_error", ["tempfail", "continue"])
async def test_a_hook_that_fails_is_told_and_loses_nothing(
    call: Callable[[Any], Verdict | Awaitable[Verdict | None] | None], on_error: Any
) -> None:
    told: list[str] = []
    broken = Hook("bad", "connect", call, time_limit=0.01, on_error=on_error)
    hooks = Hooks([broken, hook(None)], lambda which, error: told.append(which.name))
    verdict = await ask(hooks)
    if on_error == "tempfail":
        assert isinstance(verdict, Tempfail)
        assert verdict.reply.code == 451
    else:
        assert verdict is None
    assert told == ["bad.connect"]
    assert broken.errors == 1


async def test_counts() -> None:
    first, second = hook(None), hook(Reject("no"))
    hooks = Hooks([first, second])
    for _ in range(3):
        await ask(hooks)
    assert (first.calls, second.calls) == (3, 3)
    assert second.said == {"reject": 3}


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="no phase 'greeting'"):
        Hooks([Hook("a", "greeting", lambda facts: None)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Reject("no", 450),
        lambda: Tempfail("no", 550),
        lambda: Reject("two\r\nlines"),
        lambda: Reject("ümlaut"),
        lambda: Reject(""),
        lambda: Reject("x" * 500),
        lambda: Tarpit(0),
        lambda: Tarpit(1e9),
        lambda: Discard(" "),
    ],
)
def test_verdicts_that_are_no_replies(make: Callable[[], Verdict]) -> None:
    with pytest.raises(ValueError, match=r"takes|text of a reply|reason"):
        make()


def test_replies_have_enhanced_codes() -> None:
    assert str(Reject("no").reply) == "550 5.7.1 no"
    assert str(Tempfail("4.2.0 later", 451).reply) == "451 4.2.0 later"
