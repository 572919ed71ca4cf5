"""DMARC (RFC 9989): whose policy holds for the author's domain, and does the message keep to it?

The organizational domain is found by walking up the DNS tree (RFC 9989 4.10), not by a list of public suffixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from postroad.auth.author import author_domains, to_ascii
from postroad.auth.dkim.tags import TagError, parse_tags
from postroad.auth.fields import body_start, split_fields
from postroad.net import DnsFailure

# RFC 9989 4.10: names of more labels are cut to seven after the first question.
_MAX_LABELS = 8


class Policy(Enum):
    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


_WEAKER = {Policy.REJECT: Policy.QUARANTINE, Policy.QUARANTINE: Policy.NONE, Policy.NONE: Policy.NONE}


class DmarcRecord(NamedTuple):
    """p, sp, np: wishes for the domain itself, names below it, and names below it that do not exist. psd: "y", "n" or
    "u". rua: where reports go, as given."""

    policy: Policy
    subdomains: Policy | None = None
    nonexistent: Policy | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: str = "u"
    testing: bool = False
    rua: str = ""
    ruf: str = ""


class DmarcResult(Enum):
    """RFC 8601, RFC 9989 9: "dmarc" results."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DmarcOutcome(NamedTuple):
    """domain: of the author; policy_domain: whose record holds; policy: what it wishes for failures; disposition: what
    to do with this message, NONE unless it failed; one step weaker where the record says t=y."""

    result: DmarcResult
    reason: str = ""
    domain: str = ""
    policy_domain: str = ""
    policy: Policy = Policy.NONE
    disposition: Policy = Policy.NONE
    record: DmarcRecord | None = None


class DmarcResolver(Protocol):
    async def txt(self, name: str) -> list[bytes]: ...

    async def exists(self, name: str) -> bool:
        """As `postroad.net.DnsResolver.exists`."""


def read_record(raw: bytes) -> DmarcRecord | None:
    """None for what is no DMARC record. One without p= wishes for nothing (p=none). Where p=, sp= or np= says what
    nobody knows, the whole wishes for nothing, and without anybody to report to it is no record (RFC 9989 4.7, 4.10.1).
    Other unknown tags and values are passed over; pct= is gone."""
    if not raw.lstrip(b" \t").startswith((b"v=", b"v ", b"v\t")):
        return None
    try:
        tags = parse_tags(raw)
    except TagError:
        return None
    if next(iter(tags), "") != "v" or tags["v"] != "DMARC1":
        return None
    wishes = {name: _policy(tags, name) for name in ("p", "sp", "np") if name in tags}
    if None in wishes.values():
        if "mailto:" not in tags.get("rua", "").lower():
            return None
        wishes = {}
    psd = tags.get("psd", "u").lower()
    return DmarcRecord(
        wishes.get("p") or Policy.NONE,
        wishes.get("sp"),
        wishes.get("np"),
        tags.get("adkim", "r").lower() == "s",
        tags.get("aspf", "r").lower() == "s",
        psd if psd in ("y", "n") else "u",
        tags.get("t", "n").lower() == "y",
        tags.get("rua", ""),
        tags.get("ruf", ""),
    )


def _policy(tags: dict[str, str], name: str) -> Policy | None:
    try:
        return Policy(tags.get(name, "").lower())
    except ValueError:
        return None


class _Walk(NamedTuple):
    """records: (domain, its record) from the start upwards. organization: the organizational domain."""

    records: tuple[tuple[str, DmarcRecord], ...]
    organization: str


def _upwards(domain: str) -> list[str]:
    """The names that are asked about, from the domain to its top."""
    labels = domain.split(".")
    names = [domain]
    rest = labels[-(_MAX_LABELS - 1) :] if len(labels) >= _MAX_LABELS else labels[1:]
    names += [".".join(rest[start:]) for start in range(len(rest))]
    return names


class TreeWalker:
    """Walks, remembering what each name had: of one message most walks share their upper part. most: questions."""

    def __init__(self, resolver: DmarcResolver, most: int = 40) -> None:
        self._resolver = resolver
        self._left = most
        self._known: dict[str, DmarcRecord | None] = {}

    async def record(self, domain: str) -> DmarcRecord | None:
        """Raises DnsFailure."""
        if domain not in self._known:
            if not self._left:
                raise DnsFailure("too many DMARC look-ups for one message")
            self._left -= 1
            found = [r for text in await self._resolver.txt(f"_dmarc.{domain}") if (r := read_record(text)) is not None]
            self._known[domain] = found[0] if len(found) == 1 else None
        return self._known[domain]

    async def walk(self, domain: str) -> _Walk:
        """RFC 9989 4.10.2. Raises DnsFailure."""
        found: list[tuple[str, DmarcRecord]] = []
        for name in _upwards(domain):
            record = await self.record(name)
            if record is None:
                continue
            found.append((name, record))
            if record.psd == "n":
                return _Walk(tuple(found), name)
            if record.psd == "y":
                if name == domain:
                    return _Walk(tuple(found), name)
                count = name.count(".") + 2
                return _Walk(tuple(found), ".".join(domain.split(".")[-count:]))
        return _Walk(tuple(found), found[-1][0] if found else domain)


def author_domain(content: bytes) -> str:
    """The one domain of the one From field. Raises ValueError with the reason when there is not exactly one."""
    fields = [field for field in split_fields(content[: body_start(content)]) if field.name == b"from"]
    if len(fields) != 1:
        raise ValueError(f"{len(fields)} From fields")
    domains = author_domains(fields[0].value)
    if len(domains) != 1:
        raise ValueError("several domains in From" if domains else "no domain in From")
    return domains[0]


async def evaluate(
    domain: str, resolver: DmarcResolver, *, spf_domain: str = "", dkim_domains: Sequence[str] = ()
) -> DmarcOutcome:
    """domain: of `author_domain`. spf_domain: the domain for which SPF said pass, else ""; dkim_domains: d= of the
    signatures that pass. Never raises on what DNS holds."""
    domain = to_ascii(domain)
    if not domain:
        return DmarcOutcome(DmarcResult.PERMERROR, "no domain name")
    walker = TreeWalker(resolver)
    try:
        walk = await walker.walk(domain)
        policy_domain, record = _applicable(walk, domain)
        if record is None:
            return DmarcOutcome(DmarcResult.NONE, "no DMARC record", domain)
        policy = await _wish(record, policy_domain, domain, resolver)
        outcome = DmarcOutcome(DmarcResult.PASS, "", domain, policy_domain, policy, Policy.NONE, record)
        for name in dkim_domains:
            if await _aligned(to_ascii(name), domain, walk, record.strict_dkim, walker):
                return outcome._replace(reason=f"DKIM of {name[:253]}")
        if spf_domain and await _aligned(to_ascii(spf_domain), domain, walk, record.strict_spf, walker):
            return outcome._replace(reason=f"SPF of {spf_domain[:253]}")
    except DnsFailure as error:
        return DmarcOutcome(DmarcResult.TEMPERROR, str(error), domain)
    disposition = _WEAKER[policy] if record.testing else policy
    return outcome._replace(result=DmarcResult.FAIL, reason="neither is aligned", disposition=disposition)


def _applicable(walk: _Walk, domain: str) -> tuple[str, DmarcRecord | None]:
    """The author's own record, else the organization's, else the public suffix's (RFC 9989 4.10.1)."""
    records = dict(walk.records)
    for name in (domain, walk.organization):
        if name in records:
            return name, records[name]
    for name, record in walk.records:
        if record.psd == "y":
            return name, record
    return "", None


async def _wish(record: DmarcRecord, policy_domain: str, domain: str, resolver: DmarcResolver) -> Policy:
    if policy_domain == domain:
        return record.policy
    below = record.subdomains or record.policy
    if record.nonexistent is None or record.nonexistent is below:
        return below
    # Only NXDOMAIN says that a name does not exist (RFC 8020, as RFC 9989 reads it): one without hosts may be in use.
    return below if await resolver.exists(domain) else record.nonexistent


async def _aligned(name: str, domain: str, walk: _Walk, strict: bool, walker: TreeWalker) -> bool:
    if not name:
        return False
    if name == domain:
        return True
    if strict:
        return False
    # Organizational domains are equal only where the one's end is the other's; spares most walks.
    if not ("." + name).endswith("." + walk.organization):
        return False
    return (await walker.walk(name)).organization == walk.organization
