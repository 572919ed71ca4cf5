"""SPF: may this client use this domain in MAIL FROM or HELO (RFC 7208)?"""

from postroad.auth.spf.check import SpfLimits, SpfOutcome, SpfResult, check_host
from postroad.auth.spf.macros import MacroError, MacroText, Sender
from postroad.auth.spf.record import Mechanism, RecordError, SpfRecord, parse_record

__all__ = [
    "MacroError",
    "MacroText",
    "Mechanism",
    "RecordError",
    "Sender",
    "SpfLimits",
    "SpfOutcome",
    "SpfRecord",
    "SpfResult",
    "check_host",
    "parse_record",
]
