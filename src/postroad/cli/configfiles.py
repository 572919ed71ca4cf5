"""Whether the files that a configuration names can be used: what a server would find at its start."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from random import Random
from typing import Any, NamedTuple

from postroad.cli.policyload import logs_to_stderr
from postroad.config import Generation, Problem


class _Part(NamedTuple):
    """section, option: where it is told that this is wrong. load: raises one of `errors` when it is."""

    section: str
    option: str
    load: Callable[[], object]
    errors: tuple[type[Exception], ...]


def broken_files(generation: Generation) -> list[Problem]:
    """All that is wrong, each with its place. Runs the code of plug-ins."""
    from postroad.policy import POLICY_ERRORS
    from postroad.policy.kit import of_config

    logs_to_stderr()

    async def look() -> list[Problem]:
        found: list[Problem] = []
        try:
            of_config(generation.config, generation.path.parent)
        except POLICY_ERRORS as error:
            # The first fault hides those behind it: look at each part. What no part is to blame for alone is told so.
            found = _faults(generation, _policy(generation)) or [_problem(generation, "", "", error)]
        return found + _faults(generation, _keys(generation))

    return asyncio.run(look())


def _policy(generation: Generation) -> Iterator[_Part]:
    """Plug-ins, rules, DKIM keys."""
    from postroad.net import DnsResolver, SystemClock
    from postroad.policy import POLICY_ERRORS
    from postroad.policy.plugin import load_plugin
    from postroad.policy.rules import load_rules
    from postroad.policy.signing import load_keys

    config, folder, clock = generation.config, generation.path.parent, SystemClock()
    resolver = DnsResolver(config.dns, rng=Random(1))
    for at, plugin in enumerate(config.policy):
        load = partial(load_plugin, plugin, folder, clock=clock, resolver=resolver)
        yield _Part(f"policy[{at}]", "file" if plugin.file else "package", load, POLICY_ERRORS)
    for at, rule in enumerate(config.rule):
        yield _Part(f"rule[{at}]", "when", partial(load_rules, [rule]), POLICY_ERRORS)
    for at, key in enumerate(config.dkim):
        yield _Part(f"dkim[{at}]", "key", partial(load_keys, [key], folder, clock.wall), POLICY_ERRORS)


def _keys(generation: Generation) -> Iterator[_Part]:
    """Certificates of listeners, secrets for logins elsewhere. Those in the environment are the server's business."""
    from postroad.api.tls import HttpsDoor
    from postroad.deliver.login import read_secret
    from postroad.inject.certificates import Certificates

    for at, listener in enumerate(generation.config.listener):
        if listener.tls != "no":
            yield _Part(f"listener[{at}]", "certificates", partial(Certificates, listener), (OSError, ValueError))
    if generation.config.http.tls_address:
        yield _Part("http", "certificates", partial(HttpsDoor, generation.config.http), (OSError, ValueError))
    for name in generation.origins:
        section, _, option = name.rpartition(".")
        if option == "smtp_auth_secret" and (place := _value(generation.config, name)).startswith("file:"):
            yield _Part(section, option, partial(read_secret, place), (ValueError,))


def _value(config: object, name: str) -> Any:
    """name: dotted, as origins have it: binding[0].smtp_auth_secret."""
    for step in re.findall(r"\w+", name):
        config = config[int(step)] if isinstance(config, list) else getattr(config, step)
    return config


def _faults(generation: Generation, parts: Iterable[_Part]) -> list[Problem]:
    found = []
    for part in parts:
        try:
            part.load()
        except part.errors as error:
            found.append(_problem(generation, part.section, part.option, error))
    return found


def _problem(generation: Generation, section: str, option: str, error: Exception) -> Problem:
    """At the option, else at the first that the file says of its section."""
    name = f"{section}.{option}" if section else ""
    places = [at for of, at in generation.origins.items() if of == name or of.startswith((f"{name}.", f"{name}["))]
    places += [at for of, at in generation.origins.items() if of.startswith(f"{section}.")]
    if not places:
        return Problem(str(generation.path), 0, 0, name, str(error))
    return Problem(places[0].file, places[0].line, 1, name, str(error))
