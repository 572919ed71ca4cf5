"""Who really sent it? SPF, DKIM, ARC and DMARC of mail that comes in by listeners with `authenticate`."""

from postroad.policy.checks.examine import CHECKS, Checker, Found, examine
from postroad.policy.checks.hook import FOUND, Authentication, authentication_hooks, authserv_id
from postroad.policy.checks.report import methods, words

__all__ = [
    "CHECKS",
    "FOUND",
    "Authentication",
    "Checker",
    "Found",
    "authentication_hooks",
    "authserv_id",
    "examine",
    "methods",
    "words",
]
