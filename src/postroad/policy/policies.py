"""All policy of a running server: plug-ins and rules of the present generation of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import structlog

from postroad.config.schema import Config
from postroad.net import Clock, Resolver
from postroad.policy.hooks import Hook, Hooks
from postroad.policy.plugin import Plugin, PluginError, load_plugin
from postroad.policy.rules import load_rules

log = structlog.get_logger()


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


def load_policies(config: Config, folder: Path, *, clock: Clock, resolver: Resolver) -> PolicySet:
    """Load what the configuration names; nothing of it is asked yet. folder: of the configuration's file. Runs the code
    of plug-ins. Raises PluginError and RuleError."""
    plugins = [load_plugin(options, folder, clock=clock, resolver=resolver) for options in config.policy]
    names = [plugin.name for plugin in plugins]
    for name in names:
        if names.count(name) > 1:
            raise PluginError(f"two policies have the name {name!r}: give one another `name`")
    hooks = [hook for plugin in plugins for hook in plugin.hooks] + load_rules(config.rule)
    return PolicySet(plugins, Hooks(hooks, _tell))


def _tell(hook: Hook, error: BaseException) -> None:
    log.warning("policy_failed", policy=hook.plugin, phase=hook.phase, problem=f"{type(error).__name__}: {error}"[:500])


class Policies:
    """hooks(): to be asked now. Messages under way end with the hooks they began with."""

    def __init__(self) -> None:
        self._set = PolicySet([], Hooks())

    def hooks(self) -> Hooks:
        return self._set.hooks

    async def begin(self, wanted: PolicySet) -> None:
        """From now on these. The plug-ins before them are closed when the new ones are open; when one of those can't be
        opened, everything stays as it was. Raises PluginError."""
        opened = []
        try:
            for plugin in wanted.plugins:
                await plugin.open()
                opened.append(plugin)
        except PluginError:
            await _close(opened)
            wanted.hooks.close()
            raise
        before, self._set = self._set, wanted
        await _close(before.plugins)
        before.hooks.close()

    async def close(self) -> None:
        before, self._set = self._set, PolicySet([], Hooks())
        await _close(before.plugins)
        before.hooks.close()

    def counts(self) -> list[HookCount]:
        return [
            HookCount(hook.plugin, hook.phase, hook.calls, hook.errors, dict(hook.said)) for hook in self.hooks().all
        ]


async def _close(plugins: list[Plugin]) -> None:
    for plugin in plugins:
        try:
            await plugin.close()
        except PluginError as error:
            log.warning("policy_failed", policy=plugin.name, problem=str(error))
