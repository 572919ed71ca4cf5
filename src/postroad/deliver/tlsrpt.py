"""What is counted of sessions and told to the domains that ask for it: TLS reports (RFC 8460). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from postroad.deliver.dane import DaneCheck
from postroad.deliver.sts import StsPolicy
from postroad.deliver.tls import Policy, PolicyKind, Trouble

DAY = 86_400
_DOMAINS = 100_000
_POLICIES = 50  # of one domain; what is beyond counts for nothing
_DETAILS = 100  # kinds of failure of one policy; what is beyond counts in the sum only
_RUA = re.compile(r"rua[ \t]*=(.*)", re.DOTALL)


class Place(NamedTuple):
    """Between whom a session was, or should have been. source, address: IP addresses, "" where there was none."""

    source: str
    host: str
    address: str


class FailureCount(msgspec.Struct):
    result: str
    place: Place
    reason: str
    count: int = 0


class PolicyCount(msgspec.Struct):
    """kind, strings, hosts: the policy as it was found. good, bad: sessions."""

    kind: str
    strings: tuple[str, ...]
    hosts: tuple[str, ...]
    good: int = 0
    bad: int = 0
    failures: list[FailureCount] = msgspec.field(default_factory=list)


class Day(msgspec.Struct):
    """start: Unix seconds of midnight UTC."""

    start: int
    domains: dict[str, list[PolicyCount]] = msgspec.field(default_factory=dict)


def day_of(wall: float) -> int:
    return int(wall // DAY) * DAY


class TlsCounts:
    """The sessions of one day. Bounded, whatever the world does."""

    def __init__(self, day: Day) -> None:
        self.day = day

    def good(self, domain: str, policy: Policy, host: str, sts: StsPolicy | None) -> None:
        found = self._find(domain, *_published(policy, host, sts))
        if found is not None:
            found.good += 1

    def bad(self, domain: str, policy: Policy, sts: StsPolicy | None, place: Place, trouble: Trouble) -> None:
        self._bad(domain, _published(policy, place.host, sts), place, trouble)

    def told(self, domain: str, kind: PolicyKind, sts: StsPolicy | None, host: str, trouble: Trouble) -> None:
        """Something went wrong before there could be a session."""
        self._bad(domain, _published(Policy((), kind=kind), host, sts), Place("", host, ""), trouble)

    def _bad(self, domain: str, published: _Published, place: Place, trouble: Trouble) -> None:
        found = self._find(domain, *published)
        if found is None:
            return
        found.bad += 1
        result = trouble.failure.value
        for failure in found.failures:
            if (failure.result, failure.place) == (result, place):
                failure.count += 1
                return
        if len(found.failures) < _DETAILS:
            found.failures.append(FailureCount(result, place, trouble.text[:300], 1))

    def _find(self, domain: str, kind: str, strings: tuple[str, ...], hosts: tuple[str, ...]) -> PolicyCount | None:
        counts = self.day.domains.get(domain)
        if counts is None:
            if len(self.day.domains) >= _DOMAINS:
                return None
            counts = self.day.domains[domain] = []
        for count in counts:
            if (count.kind, count.strings) == (kind, strings):
                return count
        if len(counts) >= _POLICIES:
            return None
        counts.append(PolicyCount(kind, strings, hosts))
        return counts[-1]


_Published = tuple[str, tuple[str, ...], tuple[str, ...]]


def _published(policy: Policy, host: str, sts: StsPolicy | None) -> _Published:
    """A policy in the words of its domain (RFC 8460 4.4: policy-string, mx-host)."""
    if policy.kind is PolicyKind.STS and sts is not None:
        lines = ["version: STSv1", f"mode: {sts.mode.value}", *(f"mx: {name}" for name in sts.hosts)]
        return policy.kind.value, (*lines, f"max_age: {sts.max_age}"), sts.hosts
    if policy.kind is PolicyKind.DANE:
        records = policy.examine.records if isinstance(policy.examine, DaneCheck) else ()
        texts = tuple(f"{r.usage} {r.selector} {r.matching} {r.data.hex()}" for r in records)
        return policy.kind.value, texts, (host,) if host else ()
    return policy.kind.value, (), ()


# --- the report -------------------------------------------------------------------------------------------------------


class Ours(NamedTuple):
    """Who reports. contact: a mail address."""

    organization: str
    contact: str
    hostname: str


def report_id(day: Day, domain: str, ours: Ours) -> str:
    return f"{_date(day.start)[:10]}.{domain}@{ours.hostname}"


def report(day: Day, domain: str, ours: Ours) -> bytes:
    """The JSON of RFC 8460 4.4 about one domain."""
    return msgspec.json.encode(
        {
            "organization-name": ours.organization,
            "date-range": {"start-datetime": _date(day.start), "end-datetime": _date(day.start + DAY - 1)},
            "contact-info": ours.contact,
            "report-id": report_id(day, domain, ours),
            "policies": [_policy(count, domain) for count in day.domains[domain]],
        }
    )


def _policy(count: PolicyCount, domain: str) -> dict[str, object]:
    policy: dict[str, object] = {"policy-type": count.kind, "policy-domain": domain}
    if count.strings:
        policy["policy-string"] = count.strings
    if count.hosts:
        policy["mx-host"] = count.hosts
    made: dict[str, object] = {
        "policy": policy,
        "summary": {"total-successful-session-count": count.good, "total-failure-session-count": count.bad},
    }
    if count.failures:
        made["failure-details"] = [_failure(failure) for failure in count.failures]
    return made


def _failure(failure: FailureCount) -> dict[str, object]:
    place = failure.place
    named = {
        "result-type": failure.result,
        "sending-mta-ip": place.source,
        "receiving-mx-hostname": place.host,
        "receiving-ip": place.address,
        "failure-reason-code": failure.reason,
    }
    return {name: value for name, value in named.items() if value} | {"failed-session-count": failure.count}


def _date(wall: int) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def mail_addresses(records: Sequence[bytes]) -> list[str]:
    """The mail addresses of the TXT records of `_smtp._tls.DOMAIN` (3): [] when it wants no reports, or none by mail.
    They are what a stranger wrote, and not checked."""
    uris = _uris(records)
    return [uri[len("mailto:") :].partition("?")[0] for uri in uris if uri.lower().startswith("mailto:")]


def web_places(records: Sequence[bytes]) -> list[str]:
    """The same of places that take them by HTTPS: their URIs."""
    return [uri for uri in _uris(records) if uri.lower().startswith("https:")]


def _uris(records: Sequence[bytes]) -> list[str]:
    found = [record.decode("ascii", "replace") for record in records if re.match(rb"v=TLSRPTv1[ \t]*;", record)]
    if len(found) != 1:
        return []
    for part in found[0].split(";")[1:]:
        if match := _RUA.match(part.strip()):
            return [uri.strip() for uri in match[1].split(",")]
    return []
