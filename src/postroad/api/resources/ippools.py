"""/ip-pools and /sending-ips: the groups and bindings of the configuration, as clients know them (api.md 19).

They are changed where they are: in the configuration, which is checked as a whole and counts for all engines at once.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, NoReturn

from msgspec import Meta, Struct

from postroad.api.callers import Caller
from postroad.api.envelope import Refusal
from postroad.api.office import Office
from postroad.api.route import PlainAsk, Results, Route
from postroad.config.schema import BindingOptions, Config
from postroad.inject.http import Code, Failure

DEFAULT = "default"
_CHANGE = "IP pools and sending IPs are [[group]] and [[binding]] of the configuration: change them there, then reload."


class PoolIp(Struct):
    """An address of a pool."""

    external_ip: str
    hostname: Annotated[str, Meta(description="What it says in EHLO.")]
    auto_warmup_enabled: bool = False


class IpPool(Struct):
    """A group of bindings."""

    id: Annotated[str, Meta(description="For options.ip_pool of a transmission.")]
    name: str
    ips: Annotated[list[PoolIp], Meta(description="IPv4 addresses of its bindings; those without one are left out.")]
    signing_domain: str = ""
    fbl_signing_domain: str = ""
    auto_warmup_overflow_pool: str = ""


class SendingIp(Struct):
    """The IPv4 address of a binding."""

    external_ip: str
    hostname: Annotated[str, Meta(description="What it says in EHLO.")]
    ip_pool: Annotated[str, Meta(description="The group of its binding.")]
    customer_provided: bool = True
    auto_warmup_enabled: bool = False


def routes(office: Office) -> list[Route[Any, Any]]:
    async def pools(ask: PlainAsk) -> Results[list[IpPool]]:
        _require_primary(ask.caller)
        return Results(_pools(office.config()))

    async def pool(ask: PlainAsk) -> Results[IpPool]:
        _require_primary(ask.caller)
        found = next((each for each in _pools(office.config()) if each.id == ask.path["id"]), None)
        if found is None:
            raise Refusal(404, "IP pool not found.")
        return Results(found)

    async def addresses(ask: PlainAsk) -> Results[list[SendingIp]]:
        _require_primary(ask.caller)
        return Results(_addresses(office.config()))

    async def address(ask: PlainAsk) -> Results[SendingIp]:
        _require_primary(ask.caller)
        try:
            wanted = str(ipaddress.IPv4Address(ask.path["ip"]))
        except ValueError:
            raise Refusal(400, "external ip must be a valid IPv4 address") from None
        found = next((each for each in _addresses(office.config()) if each.external_ip == wanted), None)
        if found is None:
            raise Refusal(404, "Sending IP does not exist")
        return Results(found)

    async def change(ask: PlainAsk) -> NoReturn:
        _require_primary(ask.caller)
        raise Refusal(501, {"message": "not implemented", "description": _CHANGE})

    shown = (
        ("/ip-pools", pools, "All IP pools", Results[list[IpPool]]),
        ("/ip-pools/{id}", pool, "An IP pool", Results[IpPool]),
        ("/sending-ips", addresses, "All sending IPs", Results[list[SendingIp]]),
        ("/sending-ips/{ip}", address, "A sending IP", Results[SendingIp]),
    )
    wrong = {"/ip-pools/{id}": {404: "no such pool"}, "/sending-ips/{ip}": {400: "no address", 404: "not ours"}}
    kept = (
        ("POST", "/ip-pools"),
        ("PUT", "/ip-pools/{id}"),
        ("DELETE", "/ip-pools/{id}"),
        ("PUT", "/sending-ips/{ip}"),
    )
    reading: list[Route[Any, Any]] = [
        Route(
            method="GET",
            path=path,
            handler=handler,
            summary=summary,
            answers=answers,
            refuses=(Code.FORBIDDEN,),
            refuses_with=wrong.get(path, {}),
        )
        for path, handler, summary, answers in shown
    ]
    changing: list[Route[Any, Any]] = [
        Route(
            method=method,
            path=path,
            handler=change,
            summary="Changed in the configuration alone",
            description=f"Not served: answers 501. {_CHANGE}",
            answers=None,
            refuses=(Code.FORBIDDEN,),
            refuses_with={501: "Always: the configuration says it."},
        )
        for method, path in kept
    ]
    return reading + changing


def _require_primary(caller: Caller) -> None:
    if caller.bound:
        raise Failure(Code.FORBIDDEN, "IP pools belong to the primary account's keys")


def _pools(config: Config) -> list[IpPool]:
    """By id. `default` is always there (api.md 19)."""
    found: dict[str, list[PoolIp]] = {DEFAULT: [], **{group.name: [] for group in config.group}}
    for each in _addresses(config):
        found[each.ip_pool].append(PoolIp(each.external_ip, each.hostname))
    return [IpPool(name, name, ips) for name, ips in sorted(found.items())]


def _addresses(config: Config) -> list[SendingIp]:
    """By pool, in the order of the configuration, each once in a pool. What is in no group is in `default`: also the
    binding of this name, which is always there."""
    delivery = config.delivery
    groups = {member.binding: group for group in config.group for member in group.members}
    found: dict[tuple[str, str], SendingIp] = {}
    bindings = [*config.binding, BindingOptions(name=DEFAULT)]
    if any(binding.name == DEFAULT for binding in config.binding):
        bindings.pop()
    for binding in bindings:
        # A binding with an IPv6 address alone has no IPv4 one; one with neither has that of [delivery].
        address = binding.source_address or ("" if binding.source_address6 else delivery.source_address)
        if not address:
            continue
        group = groups.get(binding.name)
        name = DEFAULT if group is None else group.name
        hostname = binding.ehlo_hostname or (group and group.ehlo_hostname) or delivery.ehlo_hostname
        found.setdefault((name, address), SendingIp(address, hostname or config.server.hostname, name))
    return sorted(found.values(), key=lambda each: each.ip_pool)
