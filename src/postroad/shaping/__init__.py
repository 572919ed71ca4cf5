"""6 Shape: how fast each path may go."""

from postroad.shaping.binding import Binding
from postroad.shaping.limits import FixedLimits, Limits

__all__ = ["Binding", "FixedLimits", "Limits"]
