"""The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): who the client behind a load balancer is.

Pure: the first octets of a connection in, the client out. TLVs are passed over. Both versions are told apart by their
first octets; nothing here waits or reads a socket.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import NamedTuple

MAX_LINE = 107  # octets of a header of version 1, CRLF included
MAX_HEADER = 4096  # octets of a header of version 2: addresses, and TLVs that we do not want
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LINE = re.compile(rb"PROXY (?:UNKNOWN(?: [ -~]*)?|(TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (\d{1,5}) (\d{1,5}))")
_PLACES = {0x11: (4, "!4s4sHH"), 0x21: (16, "!16s16sHH")}  # TCP over IPv4, over IPv6


class ProxyError(ValueError):
    """What came first is no PROXY header. The connection is of no more use."""


class Client(NamedTuple):
    """address "": the balancer speaks for itself (LOCAL), or does not know: the connection's own address stands.

    used: octets of the header.
    """

    used: int
    address: str = ""
    port: int = 0


def read_header(data: bytes) -> Client | None:
    """The client named by the header at the start of the data; None when more octets are needed to know.

    Raises ProxyError.
    """
    head = data[: len(_SIGNATURE)]
    if _SIGNATURE.startswith(head):
        return _version_2(data) if len(data) >= 16 else None
    if b"PROXY ".startswith(data[:6]):
        return _version_1(data)
    raise ProxyError("the connection does not begin with a PROXY header")


def _version_1(data: bytes) -> Client | None:
    end = data.find(b"\r\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE or b"\n" in data:
            raise ProxyError("the PROXY line has no end")
        return None
    match = _LINE.fullmatch(data[:end])
    if match is None:
        raise ProxyError("malformed PROXY line")
    family = match[1]
    if family is None:
        return Client(end + 2)
    source, ours = _address(match[2].decode()), _address(match[3].decode())
    version = 4 if family == b"TCP4" else 6
    port, our_port = int(match[4]), int(match[5])
    if source.version != version or ours.version != version or port > 65_535 or our_port > 65_535:
        raise ProxyError("malformed PROXY line")
    return Client(end + 2, str(source), port)


def _version_2(data: bytes) -> Client | None:
    kind, family, length = struct.unpack_from("!BBH", data, len(_SIGNATURE))
    used = 16 + length
    if kind >> 4 != 2 or kind & 15 > 1:
        raise ProxyError("unknown PROXY version or command")
    if used > MAX_HEADER:
        raise ProxyError("the PROXY header is too long")
    if len(data) < used:
        return None
    if kind & 15 == 0:  # LOCAL: a health check of the balancer's own
        return Client(used)
    if family == 0:
        return Client(used)
    if family not in _PLACES:
        raise ProxyError("the PROXY header names no TCP client")
    size, form = _PLACES[family]
    if length < 2 * size + 4:
        raise ProxyError("the PROXY header is too short for its addresses")
    source, _, port, _ = struct.unpack_from(form, data, 16)
    return Client(used, str(ipaddress.ip_address(source)), port)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ProxyError("malformed PROXY line") from None
