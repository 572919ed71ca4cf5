"""6 Shape: which options count for a path, and how fast it may go."""

from postroad.shaping.allowance import Allowance
from postroad.shaping.binding import Binding
from postroad.shaping.borrower import Borrower
from postroad.shaping.explain import Counting, explain_path
from postroad.shaping.gate import Gate
from postroad.shaping.lender import Lender
from postroad.shaping.limits import Limits
from postroad.shaping.scopes import Bucket, PathOptions, Scope, Scopes, Setting
from postroad.shaping.throttle import Throttle

__all__ = [
    "Allowance",
    "Binding",
    "Borrower",
    "Bucket",
    "Counting",
    "Gate",
    "Lender",
    "Limits",
    "PathOptions",
    "Scope",
    "Scopes",
    "Setting",
    "Throttle",
    "explain_path",
]
