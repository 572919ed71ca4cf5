"""`postroad serve`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, fail, load_config


def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    loop: Annotated[str, typer.Option(help="Event loop: uvloop or asyncio.")] = "uvloop",
) -> None:
    """Take mail in, keep it, deliver it. Ends on SIGTERM or Ctrl-C, after what is under way is finished."""
    from postroad.serve import StartError, run

    if loop not in ("uvloop", "asyncio"):
        fail(f"--loop is uvloop or asyncio, not {loop!r}", 2)
    # Whatever a library or a plug-in writes, too: nothing of it is for other users of this machine.
    os.umask(0o077)
    try:
        run(load_config(config), use_uvloop=loop == "uvloop")
    except StartError as error:
        fail(error)
