"""Whether the files that a configuration names can be used: what a server would find at its start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from postroad.cli.policyload import logs_to_stderr
from postroad.config import Generation, Problem


def broken_files(generation: Generation) -> list[Problem]:
    from postroad.inject.certificates import Certificates
    from postroad.policy import POLICY_ERRORS
    from postroad.policy.kit import of_config

    logs_to_stderr()
    config, folder = generation.config, generation.path.parent
    found: list[Problem] = []

    def attempt(name: str, errors: tuple[type[Exception], ...], make: Callable[..., object], *given: object) -> None:
        try:
            make(*given)
        except errors as error:
            found.append(Problem(str(generation.path), 0, 0, name, str(error)))

    async def policy() -> None:
        of_config(config, folder)

    attempt("", POLICY_ERRORS, lambda: asyncio.run(policy()))
    for at, listener in enumerate(config.listener):
        if listener.tls != "no":
            attempt(f"listener[{at}].certificates", (OSError, ValueError), Certificates, listener)
    return found
