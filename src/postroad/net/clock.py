"""Wall time as an argument. Waiting uses the event loop's monotonic time instead."""

import time
from typing import Protocol


class Clock(Protocol):
    def wall(self) -> float:
        """Unix seconds."""


class SystemClock:
    def wall(self) -> float:
        return time.time()
