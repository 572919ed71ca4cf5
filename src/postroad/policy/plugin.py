"""Plug-ins: a Python file named in the configuration, or an installed package.

A plug-in is a module with plain or `async` functions that are named after phases; or with a class `Policy`, made with a
`Kit`, whose methods are. A msgspec struct `Options` in the module says what options it takes; they are checked when the
configuration is read.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import structlog

from postroad.config.schema import PolicyOptions
from postroad.net import Clock, Resolver
from postroad.policy.hooks import Hook
from postroad.policy.phase import PHASES

_numbers = itertools.count()  # each load of a file is a module of its own


class PluginError(Exception):
    """A plug-in can't be used. The message names it, and the line of it where there is one."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What a plug-in is given. options: its struct `Options`, or the table of the file as it stands."""

    name: str
    options: Any
    clock: Clock
    resolver: Resolver
    log: Any


@dataclass(slots=True)
class Plugin:
    """A loaded plug-in. `open` and `close`, where its class has them, are called with the server's start and stop, and
    around a reload."""

    name: str
    hooks: list[Hook]
    policy: object

    async def open(self) -> None:
        """Raises PluginError."""
        await self._tell("open")

    async def close(self) -> None:
        await self._tell("close")

    async def _tell(self, verb: str) -> None:
        method = getattr(self.policy, verb, None)
        if method is None:
            return
        try:
            result = method()
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            raise PluginError(f"policy {self.name!r}: {verb}() failed: {error!r}") from error


def load_plugin(options: PolicyOptions, folder: Path, *, clock: Clock, resolver: Resolver) -> Plugin:
    """folder: what a relative `file` is relative to. Runs the plug-in's code. Raises PluginError."""
    name = options.name or (Path(options.file).stem if options.file else options.package)
    try:
        module = _from_file(folder / options.file, name) if options.file else _from_package(options.package)
        kit = Kit(name, _options(module, options.options), clock, resolver, structlog.get_logger(policy=name))
        factory = getattr(module, "Policy", None)
        policy = module if factory is None else factory(kit)
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"policy {name!r}: {_place(error)}{type(error).__name__}: {error}") from error
    hooks = [
        Hook(
            name,
            phase,
            getattr(policy, phase),
            listeners=frozenset(options.listeners),
            time_limit=options.time_limit,
            on_error=options.on_error,
            thread=options.thread,
        )
        for phase in PHASES
        if callable(getattr(policy, phase, None)) and (not options.phases or phase in options.phases)
    ]
    if not hooks:
        raise PluginError(f"policy {name!r} has nothing named after a phase; the phases: {', '.join(PHASES)}")
    for hook in hooks:
        if hook.thread and inspect.iscoroutinefunction(hook.call):
            raise PluginError(f"policy {name!r}: {hook.phase} is async, which `thread` is not for")
    return Plugin(name, hooks, policy)


def _from_file(path: Path, name: str) -> ModuleType:
    if not path.is_file():
        raise PluginError(f"policy {name!r}: there is no file {path}")
    # A name of its own each time: a reload must not change the functions that the generation before still uses.
    unique = f"postroad_policy_{next(_numbers)}_{path.stem}"
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"policy {name!r}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def _from_package(package: str) -> ModuleType:
    """Installed code changes with an installation, and is read again with the next start only."""
    return importlib.import_module(package)


def _options(module: ModuleType, given: Mapping[str, Any]) -> Any:
    wanted = getattr(module, "Options", None)
    if wanted is None:
        return dict(given)
    return msgspec.convert(dict(given), wanted, strict=False)


def _place(error: Exception) -> str:
    """file:line of the plug-in's own code, "" where the error has none."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: "
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    if len(frames) < 2:
        return ""
    return f"{frames[-1].filename}:{frames[-1].lineno}: "
