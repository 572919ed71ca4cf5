"""7 Deliver: to the receivers' hosts."""

from postroad.deliver.look import PathLook, forgive, look
from postroad.deliver.machine import TABLE, Machine
from postroad.deliver.policies import TlsPolicies
from postroad.deliver.pool import Deliverer, DeliveryStats
from postroad.deliver.steps import Step
from postroad.deliver.stscache import StsPolicies
from postroad.deliver.stsfetch import HttpsFetch
from postroad.deliver.tlspost import HttpsPost
from postroad.deliver.tlsreporter import TlsReporter

__all__ = [
    "TABLE",
    "Deliverer",
    "DeliveryStats",
    "HttpsFetch",
    "HttpsPost",
    "Machine",
    "PathLook",
    "Step",
    "StsPolicies",
    "TlsPolicies",
    "TlsReporter",
    "forgive",
    "look",
]
