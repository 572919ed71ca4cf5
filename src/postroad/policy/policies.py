"""All policy of a running server: plug-ins and rules of the present generation of the configuration."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

import structlog

from postroad.config.schema import Config
from postroad.net import Clock, Resolver
from postroad.policy.checks import authentication_hooks
from postroad.policy.hooks import Hook, Hooks
from postroad.policy.plugin import Plugin, PluginError, load_plugin
from postroad.policy.rules import RuleError, load_rules
from postroad.policy.signing import KeyRing, SigningError, load_keys

log = structlog.get_logger()


# What can be wrong with what a configuration names; all with a text for the operator.
POLICY_ERRORS = (PluginError, RuleError, SigningError)


class HookCount(NamedTuple):
    """Since this generation was loaded. said: how often it returned what."""

    plugin: str
    phase: str
    calls: int
    errors: int
    said: dict[str, int]


class PolicySet(NamedTuple):
    """What one generation of the configuration names, loaded."""

    plugins: list[Plugin]
    hooks: Hooks
    keys: KeyRing


_NONE = PolicySet([], Hooks(), KeyRing([], lambda: 0.0))


def load_policies(config: Config, folder: Path, *, clock: Clock, resolver: Resolver) -> PolicySet:
    """Load what the configuration names; nothing of it is asked yet. folder: of the configuration's file. Runs the code
    of plug-ins. Raises PluginError, RuleError and SigningError."""
    plugins = [load_plugin(options, folder, clock=clock, resolver=resolver) for options in config.policy]
    names = [plugin.name for plugin in plugins]
    for name in names:
        if names.count(name) > 1:
            raise PluginError(f"two policies have the name {name!r}: give one another `name`")
    checks = authentication_hooks(config, resolver, clock)
    hooks = checks + [hook for plugin in plugins for hook in plugin.hooks] + load_rules(config.rule)
    return PolicySet(plugins, Hooks(hooks, _tell), load_keys(config.dkim, folder, clock.wall))


def _tell(hook: Hook, error: BaseException) -> None:
    log.warning("policy_failed", policy=hook.plugin, phase=hook.phase, problem=f"{type(error).__name__}: {error}"[:500])


class Policies:
    """hooks(), keys(): of now. Messages under way end with those they began with."""

    def __init__(self) -> None:
        self._set = _NONE
        self._opened: PolicySet | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def hooks(self) -> Hooks:
        return self._set.hooks

    def keys(self) -> KeyRing:
        return self._set.keys

    async def open(self, wanted: PolicySet) -> None:
        """Make ready what is to count next. Raises PluginError; then nothing has changed."""
        await self._drop()
        opened = []
        try:
            for plugin in wanted.plugins:
                await plugin.open()
                opened.append(plugin)
        except PluginError:
            await _close(opened)
            wanted.hooks.close()
            raise
        self._opened = wanted

    def swap(self) -> None:
        """What was opened counts from now on. What counted before is closed behind our back."""
        if self._opened is None:
            return
        before, self._set, self._opened = self._set, self._opened, None
        task = asyncio.get_running_loop().create_task(_end(before))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _drop(self) -> None:
        """What was opened and is not to count after all."""
        if self._opened is not None:
            before, self._opened = self._opened, None
            await _end(before)

    async def close(self) -> None:
        await self._drop()
        before, self._set = self._set, _NONE
        await _end(before)
        await asyncio.gather(*self._closing)

    def counts(self) -> list[HookCount]:
        return [
            HookCount(hook.plugin, hook.phase, hook.calls, hook.errors, dict(hook.said)) for hook in self.hooks().all
        ]


async def _end(policies: PolicySet) -> None:
    await _close(policies.plugins)
    policies.hooks.close()


async def _close(plugins: list[Plugin]) -> None:
    for plugin in plugins:
        try:
            await plugin.close()
        except PluginError as error:
            log.warning("policy_failed", policy=plugin.name, problem=str(error))
