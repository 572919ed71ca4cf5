"""The processes: what runs together, and in which order it starts and stops."""

from postroad.serve.control import ControlError, ask, follow
from postroad.serve.engine import Engine, EngineStats
from postroad.serve.errors import StartError
from postroad.serve.process import run

__all__ = ["ControlError", "Engine", "EngineStats", "StartError", "ask", "follow", "run"]
