"""The header fields an MTA adds: Received (RFC 5321 4.4), and Date and Message-ID where a submitted message lacks them
(RFC 6409 8.2, 8.3). Each function returns whole lines with CRLF, ready to stand in front of the message."""

from __future__ import annotations

from functools import lru_cache
from time import gmtime

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    # Not strftime: names of days and months must not follow the locale.
    year, month, day, hour, minute, sec, weekday, _, _ = gmtime(second)
    return f"{_DAYS[weekday]}, {day} {_MONTHS[month - 1]} {year:04d} {hour:02d}:{minute:02d}:{sec:02d} +0000"


def date_text(wall: float) -> str:
    """RFC 5322 3.3 date-time in UTC. wall: Unix seconds."""
    return _date(int(wall))


def date_field(wall: float) -> bytes:
    return f"Date: {date_text(wall)}\r\n".encode()


def message_id_field(identifier: str, hostname: str) -> bytes:
    return f"Message-ID: <{identifier}@{hostname}>\r\n".encode()


def received_field(
    *,
    helo: str,
    peer: str,
    hostname: str,
    protocol: str,
    identifier: str,
    wall: float,
    recipient: str = "",
    name: str = "",
    tls: str = "",
) -> bytes:
    """A Received field. helo: what the client called itself (already checked: no CR, LF or parentheses reach us by the
    SMTP grammar, and any that do are replaced here); peer: its IP address; protocol: SMTP, ESMTP, UTF8SMTP, HTTP ...
    (RFC 3848, 6531). recipient: only for a transaction of one, so that no recipient learns of another. name: the peer's
    host name, where it is known; tls: version and cipher, or "".
    """
    literal = f"IPv6:{peer}" if ":" in peer else peer
    called = "".join(c if c.isalnum() or c in ".-_:[]" else "?" for c in helo) or "unknown"
    known = f"{name} " if name and all(c.isalnum() or c in ".-_" for c in name) else ""
    cipher = f"\r\n\t(using {tls})" if tls else ""
    for_clause = f"\r\n\tfor <{recipient}>" if recipient else ""
    return (
        f"Received: from {called} ({known}[{literal}]){cipher}\r\n"
        f"\tby {hostname} with {protocol} id {identifier}{for_clause};\r\n"
        f"\t{date_text(wall)}\r\n"
    ).encode()
