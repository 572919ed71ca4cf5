"""HTTP injection without HTTP: a request body becomes Transactions, or faults in the words of the API."""

from postroad.inject.http.decode import Decoded, decode, decode_as
from postroad.inject.http.faults import Code, Failure, Fault, fault
from postroad.inject.http.mailing import Mailing, Setting, Unmade
from postroad.inject.http.shapes import Transmission

__all__ = [
    "Code",
    "Decoded",
    "Failure",
    "Fault",
    "Mailing",
    "Setting",
    "Transmission",
    "Unmade",
    "decode",
    "decode_as",
    "fault",
]
