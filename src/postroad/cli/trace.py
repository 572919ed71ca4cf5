"""`postroad trace`."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Annotated

import typer

from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, load_config, say


def trace(
    domain: Annotated[str, typer.Option(help="Sessions to the hosts of this routing domain.")] = "",
    peer: Annotated[str, typer.Option(metavar="CIDR", help="Sessions with these addresses, in and out.")] = "",
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="For how long; Ctrl-C ends it sooner.")] = 60,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show SMTP dialogues as they pass. Passwords are masked, content is cut to its first line and size."""
    from postroad.serve import ControlError, follow

    data_dir = load_config(config).data_dir
    with contextlib.suppress(KeyboardInterrupt):
        try:
            for item in follow(data_dir, "trace", domain=domain, peer=peer, seconds=seconds):
                if as_json:
                    typer.echo(json.dumps(item))
                else:
                    clock = time.strftime("%H:%M:%S", time.localtime(item["time"]))
                    with_whom = (
                        f"{item.get('direction', ''):3} {item.get('peer', '')} {item.get('domain', '')}".rstrip()
                    )
                    say(f"{clock} {with_whom}  {item['line']}")
        except ControlError as error:
            fail(error)
