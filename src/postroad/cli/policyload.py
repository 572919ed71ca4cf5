"""Loading policy for commands."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from postroad.cli.common import fail

if TYPE_CHECKING:
    from postroad.config import Generation
    from postroad.net import Clock
    from postroad.policy.kit import Policy


def open_policy(loaded: Generation, phases: Collection[str] = (), clock: Clock | None = None) -> Policy:
    """All policy of a configuration, or an explained end of the command. Inside a running loop."""
    from postroad.policy import PluginError, RuleError, SigningError
    from postroad.policy.kit import of_config

    try:
        return of_config(loaded.config, loaded.path.parent, phases=phases, clock=clock)
    except (PluginError, RuleError, SigningError) as error:
        fail(error)


def logs_to_stderr() -> None:
    """What plug-ins log must not get between the lines of an answer."""
    from postroad.serve.logs import for_commands

    for_commands()
