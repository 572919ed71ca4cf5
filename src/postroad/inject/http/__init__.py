"""HTTP injection without HTTP: a request body becomes Transactions, or faults in the words of the API."""

from postroad.inject.http.decode import Decoded, decode, decode_as
from postroad.inject.http.faults import Code, Failure, Fault, fault
from postroad.inject.http.kept import Kept, Named, pack_request, unpack_request
from postroad.inject.http.mailing import Mailing, Setting, Unmade
from postroad.inject.http.shapes import InlineRecipient, Tracking, Transmission, TransmissionContent
from postroad.inject.http.stock import Absent, AccountOptions, Nothing, Stock, StoredTemplate

__all__ = [
    "Absent",
    "AccountOptions",
    "Code",
    "Decoded",
    "Failure",
    "Fault",
    "InlineRecipient",
    "Kept",
    "Mailing",
    "Named",
    "Nothing",
    "Setting",
    "Stock",
    "StoredTemplate",
    "Tracking",
    "Transmission",
    "TransmissionContent",
    "Unmade",
    "decode",
    "decode_as",
    "fault",
    "pack_request",
    "unpack_request",
]
