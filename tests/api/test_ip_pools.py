"""/ip-pools and /sending-ips through the live API: what the configuration says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from postroad.config.schema import BindingOptions, Config, DeliveryOptions, GroupOptions, MemberOptions, ServerOptions
from postroad.store.database import Database
from tests.api.office import OfficeClient, opened

CONFIG = Config(
    server=ServerOptions(hostname="mx.host.example"),
    binding=[
        BindingOptions(name="alone", source_address="192.0.2.1"),
        BindingOptions(name="a", source_address="192.0.2.2", ehlo_hostname="a.host.example"),
        BindingOptions(name="b", source_address="192.0.2.3"),
        BindingOptions(name="six", source_address6="2001:db8::1"),
        BindingOptions(name="any"),
    ],
    group=[
        GroupOptions(
            name="News",
            members=[MemberOptions(binding=name) for name in ("a", "b", "six")],
            ehlo_hostname="news.host.example",
        ),
        GroupOptions(name="empty"),
    ],
)


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[OfficeClient]:
    async with opened(database, tmp_path, config=CONFIG) as office:
        yield office.api


def pool(name: str, *ips: tuple[str, str]) -> dict[str, Any]:
    addresses = [{"external_ip": ip, "hostname": host, "auto_warmup_enabled": False} for ip, host in ips]
    nothing = dict.fromkeys(("signing_domain", "fbl_signing_domain", "auto_warmup_overflow_pool"), "")
    return {"id": name, "name": name, "ips": addresses, **nothing}


NEWS = pool("News", ("192.0.2.2", "a.host.example"), ("192.0.2.3", "news.host.example"))


async def test_pools_are_groups(api: OfficeClient) -> None:
    found = (await api("GET", "/ip-pools")).body["results"]
    assert found == [NEWS, pool("default", ("192.0.2.1", "mx.host.example")), pool("empty")]
    assert (await api("GET", "/ip-pools/News")).body["results"] == NEWS
    for name in ("news", "none", "a%0d%0ab"):
        answer = await api("GET", f"/ip-pools/{name}")
        assert (answer.status, answer.body) == (404, {"errors": [{"message": "IP pool not found."}]})


async def test_addresses_are_those_of_bindings(api: OfficeClient) -> None:
    found = (await api("GET", "/sending-ips")).body["results"]
    assert [(each["external_ip"], each["ip_pool"]) for each in found] == [
        ("192.0.2.2", "News"),
        ("192.0.2.3", "News"),
        ("192.0.2.1", "default"),
    ]
    assert (await api("GET", "/sending-ips/192.0.2.2")).body["results"] == {
        "external_ip": "192.0.2.2",
        "hostname": "a.host.example",
        "ip_pool": "News",
        "customer_provided": True,
        "auto_warmup_enabled": False,
    }
    for address, status, message in (
        ("192.0.2.9", 404, "Sending IP does not exist"),
        ("2001:db8::1", 400, "external ip must be a valid IPv4 address"),
        ("x", 400, "external ip must be a valid IPv4 address"),
    ):
        answer = await api("GET", f"/sending-ips/{address}")
        assert (answer.status, answer.body["errors"]) == (status, [{"message": message}])


async def test_what_delivery_says_counts_for_bindings_that_say_nothing(database: Database, tmp_path: Path) -> None:
    delivery = DeliveryOptions(source_address="192.0.2.5", ehlo_hostname="out.host.example")
    for changed, wanted in (
        (structs.replace(CONFIG, delivery=delivery), ["192.0.2.2", "192.0.2.3", "192.0.2.1", "192.0.2.5"]),
        (Config(delivery=delivery), ["192.0.2.5"]),
        (Config(), []),
    ):
        async with opened(database, tmp_path, config=changed) as office:
            found = (await office.api("GET", "/sending-ips")).body["results"]
            assert [each["external_ip"] for each in found] == wanted
            assert {each["hostname"] for each in found if each["external_ip"] == "192.0.2.5"} <= {"out.host.example"}
            assert (await office.api("GET", "/ip-pools/default")).status == 200


async def test_they_are_changed_in_the_configuration(api: OfficeClient) -> None:
    for method, path in (
        ("POST", "/ip-pools"),
        ("PUT", "/ip-pools/News"),
        ("DELETE", "/ip-pools/News"),
        ("PUT", "/sending-ips/192.0.2.2"),
    ):
        answer = await api(method, path, {"name": "x"})
        assert answer.status == 501
        assert "change them there, then reload" in answer.body["errors"][0]["description"]


async def test_not_for_subaccounts(api: OfficeClient) -> None:
    for method, path in (
        ("GET", "/ip-pools"),
        ("GET", "/ip-pools/News"),
        ("GET", "/sending-ips"),
        ("POST", "/ip-pools"),
    ):
        assert (await api.of(7)(method, path)).status == 403
    assert (await api.of(7)("GET", "/sending-ips/192.0.2.2")).status == 403
    assert (await api("GET", "/ip-pools/News")).status == 200
