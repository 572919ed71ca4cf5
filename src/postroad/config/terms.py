"""The values that options have, and what a table of the file is."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Duration(float):
    """Seconds. In a file: a number, or text such as "500ms", "30s", "20m", "12h", "5d"."""


class Size(int):
    """Bytes. In a file: a whole number, or text such as "64KB", "20MB", "2GB" (powers of 1024)."""


class Rate(tuple[tuple[int, float], ...]):
    """(how many, in so many seconds), all of which hold at once, the shortest window first; () is no limit.

    In a file: text such as "100/s" or "100/s, 20000/h, 300000/d".
    """

    __slots__ = ()


NOT_PUBLIC = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/96", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
)

Durability = Literal["power", "process", "memory"]
Growth = Literal["normal", "high"]
Blackhole = Literal["no", "discard", "fail"]
DeliveryMethod = Literal["smtp", "lmtp"]
AuthMechanism = Literal["any", "SCRAM-SHA-256", "PLAIN", "LOGIN", "XOAUTH2"]
Tls = Literal["no", "if-available", "required"]
TlsVerify = Literal["none", "ca", "host"]
TlsVersion = Literal["1.2", "1.3"]
ListenerKind = Literal["smtp", "submission", "lmtp"]
ListenerTls = Literal["no", "offered", "required", "implicit"]
ListenerTlsClient = Literal["no", "optional", "required"]
DmarcUse = Literal["none", "tag", "enforce"]
HelloCheck = Literal["no", "syntax", "dns"]
DnsListKind = Literal["address", "domain"]
OnError = Literal["tempfail", "continue"]
RuleAction = Literal["continue", "accept", "reject", "tempfail", "disconnect", "discard", "tarpit", "retry", "fail"]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file. Unknown names are errors."""
