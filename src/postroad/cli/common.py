"""What commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from postroad.config import Generation

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="POSTROAD_CONFIG", help="The configuration file.", show_default=True),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]

DEFAULT_CONFIG = Path("postroad.toml")


def harmless(text: str) -> str:
    """Text of strangers, without what a terminal would obey."""
    return text if text.isprintable() else "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


def say(text: object = "", *, err: bool = False) -> None:
    """A line for people."""
    typer.echo(harmless(str(text)), err=err)


def fail(message: object, code: int = 1) -> NoReturn:
    """Say what is wrong on stderr and end with a non-zero exit code."""
    say(f"postroad: {message}", err=True)
    raise typer.Exit(code)


def load_config(path: Path) -> Generation:
    """The configuration, or an explained end of the command."""
    from postroad.config import ConfigError, load

    try:
        return load(path)
    except FileNotFoundError:
        fail(f"there is no {path}; write one with `postroad init`, or name another with --config")
    except (ConfigError, OSError) as error:
        fail(error)
