"""What the DNS of a sending domain says (api.md 9.4), asked anew each time: who asks has just changed something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from postroad.api.domainkeys import public_half
from postroad.api.sendingdomainshapes import DnsFound
from postroad.auth.dkim import Algorithm, DkimKeyError, TagError, parse_tags, read_key_record
from postroad.net import DnsFailure
from postroad.store.sendingdomains import INVALID, VALID, DomainKey, SendingDomain

_SHOWN = 200  # octets of a record that an error quotes
Host = Literal["CNAME", "MX"]


class Names(Protocol):
    """As net.DnsResolver."""

    async def txt(self, name: str) -> list[bytes]: ...

    async def records(self, name: str, kind: Literal["A", "AAAA", "CNAME", "MX", "PTR"]) -> list[str]: ...

    async def close(self) -> None: ...


async def key_fault(names: Names, key: DomainKey) -> tuple[str, str]:
    """(the record that was found, what is wrong with it or ""). Raises DnsFailure."""
    found = await names.txt(key.record)
    if not found:
        return "", f"DNS DKIM query error: there is no TXT record at {key.record}"
    faults = [_record_fault(raw, key) for raw in found]
    best = faults.index("") if "" in faults else 0
    return _quoted(found[best]), faults[best]


def _record_fault(raw: bytes, key: DomainKey) -> str:
    try:
        if "p" not in parse_tags(raw):
            return f"DNS DKIM query error: '{_quoted(raw)}' is missing a p= tag"
        if not read_key_record(raw, Algorithm.RSA).matches(public_half(f"v=DKIM1; k=rsa; p={key.public}")):
            return f"DNS DKIM query error: the p= at {key.record} is another key"
    except (DkimKeyError, TagError) as error:
        return f"DNS DKIM query error: '{_quoted(raw)}': {error}"
    return ""


def _quoted(raw: bytes) -> str:
    """Fit for a JSON answer, whatever somebody's DNS says."""
    text = raw.decode("ascii", "replace")
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:2000]


async def host_fault(names: Names, domain: str, kind: Host, wanted: str) -> tuple[str, str]:
    """As key_fault, of the record that must lead to the bounce host `wanted`."""
    found = [name.lower().removesuffix(".") for name in await names.records(domain, kind)]
    told = _quoted(" ".join(found[:10]).encode("ascii", "replace"))
    if wanted.lower().removesuffix(".") in found:
        return told, ""
    if not found:
        return "", f"there is no {kind} record at {domain}; it must name {wanted}"
    return told, f"the {kind} record of {domain} names {told[:_SHOWN]}, not {wanted}"


class Checks:
    """Collects statuses and what stands behind them. A look-up that fails changes no status: the DNS of a domain that
    was found good may be away for a while."""

    def __init__(self) -> None:
        self.dns = DnsFound()
        self.statuses: dict[str, str] = {}

    async def run(self, name: str, look: Callable[[], Awaitable[tuple[str, str]]]) -> None:
        """name: dkim, cname or mx."""
        try:
            record, error = await look()
        except DnsFailure as failure:
            record, error = "", f"the look-up failed, ask again later: {failure}"[:500]
        else:
            self.statuses[name] = INVALID if error else VALID
        setattr(self.dns, f"{name}_record", record)
        setattr(self.dns, f"{name}_error", error)

    def applied(self, domain: SendingDomain) -> SendingDomain:
        """With what was found."""
        return domain._replace(
            dkim_status=self.statuses.get("dkim", domain.dkim_status),
            cname_status=self.statuses.get("cname", domain.cname_status),
            mx_status=self.statuses.get("mx", domain.mx_status),
        )
