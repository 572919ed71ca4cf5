"""HOST:PORT as options write it."""

from __future__ import annotations


def split_host_port(text: str, default: int) -> tuple[str, int]:
    """Read HOST, HOST:PORT, [IPv6], [IPv6]:PORT or a bare IPv6 address; the host comes without brackets.

    Raises ValueError.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"not HOST:PORT: {text!r}")
        port = rest[1:] if rest else str(default)
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, str(default)
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise ValueError(f"not HOST:PORT: {text!r}")
    return host, int(port)
