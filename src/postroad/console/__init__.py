"""The operator's console: one set of answers, asked over the control socket and over HTTP."""

from postroad.console.arguments import Arguments
from postroad.console.console import VERBS, Console, Verb
from postroad.console.holds import HoldsError
from postroad.console.metrics import METRICS, Metric
from postroad.console.parts import ConsoleError, Parts
from postroad.console.watch import ALARMS, Alarm

__all__ = [
    "ALARMS",
    "METRICS",
    "VERBS",
    "Alarm",
    "Arguments",
    "Console",
    "ConsoleError",
    "HoldsError",
    "Metric",
    "Parts",
    "Verb",
]
