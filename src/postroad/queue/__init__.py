"""5 Queue: who is due when."""

from postroad.queue.entry import State, Why
from postroad.queue.inspect import Standing, Where, position
from postroad.queue.operate import Done, Operator
from postroad.queue.paths import Path, PathCount
from postroad.queue.queue import Queue
from postroad.queue.rollup import Rollup, Rollups
from postroad.queue.schedule import retry_wait
from postroad.queue.select import Selector, SelectorError, state_named
from postroad.queue.suspend import Suspension, Suspensions
from postroad.queue.tell import Kinds, Teller

__all__ = [
    "Done",
    "Kinds",
    "Operator",
    "Path",
    "PathCount",
    "Queue",
    "Rollup",
    "Rollups",
    "Selector",
    "SelectorError",
    "Standing",
    "State",
    "Suspension",
    "Suspensions",
    "Teller",
    "Where",
    "Why",
    "position",
    "retry_wait",
    "state_named",
]
