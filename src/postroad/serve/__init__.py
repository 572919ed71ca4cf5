"""The processes: what runs together, and in which order it starts and stops.

Each is imported when it is asked for: neither the supervisor nor a command that asks a running server has a use for an
engine, which is most of the program.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from postroad.serve.errors import StartError

if TYPE_CHECKING:
    from postroad.serve.control import ControlError, ask, follow
    from postroad.serve.engine import Engine, EngineStats
    from postroad.serve.process import run

__all__ = ["ControlError", "Engine", "EngineStats", "StartError", "ask", "follow", "run"]

_HOMES = {
    **dict.fromkeys(("ControlError", "ask", "follow"), "control"),
    **dict.fromkeys(("Engine", "EngineStats"), "engine"),
    "run": "process",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
