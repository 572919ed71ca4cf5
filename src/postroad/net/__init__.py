"""The seams to the world: clock and DNS. Sockets need none of their own: every room talks to the running asyncio event
loop (`create_server`, `create_connection`, `call_later`), and the lab's simulation is such a loop."""

from postroad.net.clock import Clock, SystemClock
from postroad.net.dns import DnsResolver
from postroad.net.endpoint import split_host_port
from postroad.net.names import DnsFailure, MxHost, NoSuchDomain, NullMx, PolicyResolver, Resolver, Tlsa
from postroad.net.tap import Tap

__all__ = [
    "Clock",
    "DnsFailure",
    "DnsResolver",
    "MxHost",
    "NoSuchDomain",
    "NullMx",
    "PolicyResolver",
    "Resolver",
    "SystemClock",
    "Tap",
    "Tlsa",
    "split_host_port",
]
