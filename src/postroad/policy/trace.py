"""Hooks that tell what they said: for the plug-in kit, `postroad policy test` and the replay of events."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from postroad.policy.content import Content
from postroad.policy.hooks import Hook, Hooks
from postroad.policy.phase import PHASES
from postroad.policy.verdict import Refusal, Tarpit, Verdict


@dataclass(slots=True)
class Said:
    """What one hook said in one call. recipient: whom it was about, "" for all or nobody. verdict: None is to go on.
    changed: what of its facts it changed ("content", "context.spam", "recipient" ...). error: why it failed; then its
    phase ended as its `on_error` says."""

    plugin: str
    phase: str
    recipient: str = ""
    verdict: Verdict | None = None
    changed: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def text(self) -> str:
        """The verdict in words."""
        if self.error:
            return f"failed: {self.error}"
        return words(self.verdict) if self.verdict else "continue"


def words(verdict: Verdict | None) -> str:
    """A verdict in words."""
    if verdict is None:
        return "continue"
    name = type(verdict).__name__.lower()
    if isinstance(verdict, Refusal):
        return f"{name} {verdict.reply}"
    values = (getattr(verdict, member) for member in ("reason", "text", "seconds") if hasattr(verdict, member))
    return " ".join([name, *(f"{value}" for value in values if value not in ("", None))])


class Trace:
    """A copy of hooks that notes what each says; the hooks given count nothing. said: so far, in order.

    Nobody waits in it: a tarpit is noted, and gone on from. One message or session at a time.
    """

    def __init__(self, hooks: Iterable[Hook]) -> None:
        self.said: list[Said] = []
        self._open: dict[Hook, Said] = {}
        self.hooks = Hooks([self._noting(hook) for hook in hooks], self._failed)

    def take(self) -> list[Said]:
        """What was said since the last call."""
        said, self.said = self.said, []
        return said

    def close(self) -> None:
        self.hooks.close()

    def _noting(self, hook: Hook) -> Hook:
        inner = hook.call

        def call(facts: Any) -> Any:
            one = self._open[noting] = Said(noting.plugin, noting.phase, _about(facts))
            self.said.append(one)
            before = _look(facts)
            try:
                said = inner(facts)
            except BaseException:
                one.changed = _changed(before, _look(facts))
                raise
            return later(one, before, facts, said) if inspect.isawaitable(said) else end(one, before, facts, said)

        async def later(one: Said, before: dict[str, object], facts: Any, said: Awaitable[Any]) -> Any:
            return end(one, before, facts, await said)

        def end(one: Said, before: dict[str, object], facts: Any, said: Any) -> Any:
            one.changed = _changed(before, _look(facts))
            if isinstance(said, Verdict):
                one.verdict = said
            waits = isinstance(said, Tarpit) and Tarpit in PHASES[noting.phase].verdicts
            return None if waits else said

        noting = replace(hook, call=call, calls=0, errors=0, said=type(hook.said)())
        return noting

    def _failed(self, hook: Hook, error: BaseException) -> None:
        self._open[hook].error = f"{type(error).__name__}: {error}"


_SIMPLE = ("sender", "recipient", "domain", "binding", "group", "priority", "expires_in")


def _about(facts: Any) -> str:
    return str(getattr(facts, "recipient", "") or getattr(getattr(facts, "message", None), "recipient", ""))


def _look(facts: Any) -> dict[str, object]:
    """All that a hook can change, by name."""
    seen: dict[str, object] = {name: getattr(facts, name) for name in _SIMPLE if hasattr(facts, name)}
    if hasattr(facts, "recipients"):
        seen["recipients"] = tuple(facts.recipients)
    content = getattr(facts, "content", None)
    if isinstance(content, Content):
        seen["content"] = content.octets
    for name, context in (
        ("context", getattr(facts, "context", None)),
        ("connection", getattr(getattr(facts, "session", None), "context", None)),
    ):
        if isinstance(context, dict):
            seen |= {f"{name}.{key}": value for key, value in context.items()}
    return seen


def _changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    names = dict.fromkeys([*before, *after])
    missing = object()
    return [name for name in names if before.get(name, missing) != after.get(name, missing)]
