"""MTA-STS (RFC 8461) as words: the TXT record, the policy file, and which hosts a policy allows. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

# RFC 8461 3.2: no policy is valid for longer than a year.
MAX_AGE = 31_557_600
_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")
_LABEL = r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\Z")
_MOST_HOSTS = 1000


class Mode(Enum):
    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class StsError(ValueError):
    """This is no policy. The message says why."""


class StsPolicy(NamedTuple):
    """max_age: seconds it may be kept. hosts: patterns of MX names in lower case; only the first label may be "*"."""

    mode: Mode
    max_age: int
    hosts: tuple[str, ...] = ()

    def allows(self, host: str) -> bool:
        """RFC 8461 4.1: "*" stands for one whole label."""
        name = host.lower().rstrip(".")
        above = name.partition(".")[2]
        return name in self.hosts or (bool(above) and f"*.{above}" in self.hosts)


def record_id(records: Sequence[bytes]) -> str | None:
    """The id in the TXT records of `_mta-sts.DOMAIN`; None when they announce no policy (3.1: none, or several)."""
    found = [record for record in records if re.match(rb"v=STSv1[ \t]*(;|\Z)", record)]
    if len(found) != 1:
        return None
    fields: dict[str, str] = {}
    for part in found[0].decode("ascii", "replace").split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            fields.setdefault(name.strip(), value.strip())
    value = fields.get("id", "")
    return value if _ID.match(value) else None


def parse_policy(body: bytes) -> StsPolicy:
    """Read the policy file (3.2). Unknown fields and empty lines are skipped, and of a repeated field the first counts,
    but for mx. Raises StsError."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise StsError("it is not UTF-8") from None
    fields: dict[str, str] = {}
    hosts: dict[str, None] = {}
    for line in text.split("\n"):
        name, colon, value = line.strip(" \t\r").partition(":")
        name, value = name.rstrip(" \t"), value.strip(" \t")
        if not colon:
            continue
        if name == "mx":
            pattern = value.lower().rstrip(".")
            if not _PATTERN.match(pattern):
                raise StsError(f"mx: {value[:80]!r} is no host name")
            hosts[pattern] = None
            if len(hosts) > _MOST_HOSTS:
                raise StsError(f"more than {_MOST_HOSTS} hosts")
        else:
            fields.setdefault(name, value)
    if fields.get("version") != "STSv1":
        raise StsError(f"version: {fields.get('version', '')[:80]!r} is not STSv1")
    try:
        mode = Mode(fields.get("mode", ""))
    except ValueError:
        raise StsError(f"mode: {fields.get('mode', '')[:80]!r} is none of enforce, testing, none") from None
    age = fields.get("max_age", "")
    if not (age.isascii() and age.isdecimal() and len(age) <= 10):
        raise StsError(f"max_age: {age[:80]!r} is no number of seconds")
    if mode is not Mode.NONE and not hosts:
        raise StsError("it names no mx")
    return StsPolicy(mode, min(int(age), MAX_AGE), tuple(hosts))
