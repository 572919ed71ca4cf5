"""5 Queue: who is due when."""

from postroad.queue.paths import PathCount
from postroad.queue.queue import Queue
from postroad.queue.schedule import retry_wait
from postroad.queue.tell import Kinds, Teller

__all__ = ["Kinds", "PathCount", "Queue", "Teller", "retry_wait"]
