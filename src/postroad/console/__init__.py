"""The operator's console: one set of answers, asked over the control socket and over HTTP."""

from postroad.console.answers import ANSWERS
from postroad.console.arguments import Arguments
from postroad.console.console import VERBS, Console, Verb
from postroad.console.holds import HoldsError
from postroad.console.joint import JointConsole, Line, Process
from postroad.console.metrics import METRICS, Metric, labelled
from postroad.console.parts import ConsoleError, EngineAway, Parts
from postroad.console.watch import ALARMS, Alarm

__all__ = [
    "ALARMS",
    "ANSWERS",
    "METRICS",
    "VERBS",
    "Alarm",
    "Arguments",
    "Console",
    "ConsoleError",
    "EngineAway",
    "HoldsError",
    "JointConsole",
    "Line",
    "Metric",
    "Parts",
    "Process",
    "Verb",
    "labelled",
]
