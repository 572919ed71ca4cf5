"""/sending-domains through the live API, on SQLite and PostgreSQL, with a real name server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from dnslib import RR

from postroad.auth.dkim import SECRET_FILE
from postroad.config.schema import Config, DnsOptions, ServerOptions
from postroad.store.database import Database
from tests.api.harness import Answer
from tests.api.office import OfficeClient, Open, opened
from tests.net.nameserver import NameServer, fails, serving

NAME = "mail.acme.example"
BOUNCES = "bounce.host.example"
PATH = f"/sending-domains/{NAME}"


class Domains(NamedTuple):
    """An office whose names come from `dns`."""

    office: Open
    dns: NameServer
    folder: Path

    @property
    def api(self) -> OfficeClient:
        return self.office.api

    def publish(self, name: str, kind: str, value: str) -> None:
        """The only record of this name."""
        self.dns.records = [each for each in self.dns.records if str(each.rname).rstrip(".") != name]
        self.dns.records += RR.fromZone(f"{name}. 60 IN {kind} {value}\n")

    def publish_key(self, dkim: dict[str, str], name: str = "") -> None:
        record = f"v=DKIM1; k=rsa; h=sha256; p={dkim['public']}"
        parts = " ".join(f'"{record[at : at + 200]}"' for at in range(0, len(record), 200))
        self.publish(name or f"{dkim['selector']}._domainkey.{dkim['signing_domain']}", "TXT", parts)


@pytest.fixture
async def domains(database: Database, tmp_path: Path) -> AsyncIterator[Domains]:
    dns = NameServer()
    async with serving(dns) as servers:
        options = DnsOptions(servers=servers, attempts=1)
        config = Config(dns=options, server=ServerOptions(hostname="mx.host.example", bounce_host=BOUNCES))
        async with opened(database, tmp_path, config=config) as office:
            yield Domains(office, dns, tmp_path)


def told(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = answer.body["errors"][0]
    return found


def key_of_ours(kind: PrivateFormat = PrivateFormat.PKCS8, bits: int = 1024) -> dict[str, str]:
    """A triple as clients bring it."""
    key = generate_private_key(65537, bits)
    private = key.private_bytes(Encoding.PEM, kind, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return {"private": private, "public": public, "selector": "Own1"}


def bare(pem: str) -> str:
    return "".join(line for line in pem.splitlines() if not line.startswith("-"))


async def made(domains: Domains, name: str = NAME, **more: object) -> dict[str, str]:
    """A domain with a small key; returns the key."""
    answer = await domains.api("POST", "/sending-domains", {"domain": name, "dkim_key_length": 1024, **more})
    assert answer.status == 200, answer.body
    dkim: dict[str, str] = answer.body["results"]["dkim"]
    return dkim


async def test_it_is_made_with_a_key(domains: Domains) -> None:
    api = domains.api
    answer = await api("POST", "/sending-domains", {"domain": "Mail.ACME.example", "x": 1, "dkim": None})
    assert answer.status == 200
    found = answer.body["results"]
    dkim = found.pop("dkim")
    assert found == {"message": "Successfully Created domain.", "domain": NAME}
    assert (dkim["signing_domain"], dkim["headers"]) == (NAME, "from:to:subject:date")
    assert dkim["public"].startswith("MIIBIj") and dkim["selector"].startswith("pr")  # 2048 bits
    shown = (await api("GET", "/sending-domains/MAIL.acme.example")).body["results"]
    assert shown.pop("creation_time").endswith("+00:00")
    assert shown == {
        "domain": NAME,
        "dkim": dkim,
        "shared_with_subaccounts": False,
        "status": {
            "ownership_verified": False,
            **dict.fromkeys(("dkim_status", "cname_status", "mx_status", "spf_status"), "unverified"),
            **dict.fromkeys(("abuse_at_status", "postmaster_at_status"), "unverified"),
            "verification_mailbox_status": "unverified",
            "compliance_status": "valid",
        },
    }
    secret = domains.folder / SECRET_FILE
    assert secret.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in domains.folder.glob(f"{SECRET_FILE}*")] == [SECRET_FILE]
    assert (await api("DELETE", PATH)).status == 204
    assert (await api("GET", PATH)).status == 404
    answer = await api("POST", "/sending-domains", {"domain": NAME, "generate_dkim": False})
    assert answer.body["results"] == {"message": "Successfully Created domain.", "domain": NAME}
    assert "dkim" not in (await api("GET", PATH)).body["results"]


async def test_idn(domains: Domains) -> None:
    for given, stored in (
        ("bücher.example", "xn--bcher-kva.example"),
        ("\u0430cme.example", "xn--cme-5cd.example"),  # Cyrillic: what looks like acme.example is shown for what it is
        ("ａｃｍｅ.example", "acme.example"),  # full width
    ):
        answer = await domains.api("POST", "/sending-domains", {"domain": given, "generate_dkim": False})
        assert (answer.status, answer.body["results"]["domain"]) == (200, stored)
    answer = await domains.api("POST", "/sending-domains", {"domain": "ACME.example", "generate_dkim": False})
    assert (answer.status, told(answer)["code"]) == (409, "1602")


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"domain": None}, 422, "1400", "domain is a required field"),
    ({"domain": ""}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": "localhost"}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": "192.0.2.1"}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": "a b.example"}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": "a.example\r\nX: y"}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": "a.example\n"}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": "a%.example"}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": "a..example"}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": "-a.example"}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": f"{'a' * 64}.example"}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": f"{'a.' * 2000}example"}, 422, "1300", "'domain' must be a domain name"),
    ({"domain": 1}, 422, "1300", "'domain' must be a string"),
    ({"dkim": "x"}, 422, "1300", "'dkim' must be an object"),
    ({"dkim": {"public": "x", "selector": "s"}}, 400, "1200", "When providing custom keys, private, public, and"),
    ({"dkim": {"private": "", "public": "x", "selector": "s"}}, 400, "1200", "When providing custom keys, private,"),
    ({"dkim": {"private": "x", "public": "x", "selector": "a.b"}}, 422, "1300", "'dkim.selector' must be one label"),
    ({"dkim": {"private": "x", "public": "x", "selector": "a\r\n"}}, 422, "1300", "'dkim.selector' must be one label"),
    ({"dkim": {"private": "!", "public": "x", "selector": "s"}}, 422, "1300", "'dkim.private' is not base64"),
    ({"dkim": {"private": "AAAA", "public": "x", "selector": "s"}}, 422, "1300", "'dkim.private' is no RSA key"),
    ({"dkim": {"signing_domain": "x\n"}}, 422, "1300", "'dkim.signing_domain' must be a domain name"),
    ({"dkim": {"headers": "from\r\n"}}, 422, "1300", "'dkim.headers' must be names of header fields"),
    ({"generate_dkim": "yes"}, 422, "1300", "'generate_dkim' must be a boolean"),
    ({"dkim_key_length": 512}, 422, "1300", "'dkim_key_length' must be 1024 to 4096"),
    ({"dkim_key_length": 4097}, 422, "1300", "'dkim_key_length' must be 1024 to 4096"),
    ({"tracking_domain": "t.example"}, 400, "1200", "Tracking domain 't.example' is not a registered tracking domain"),
    ({"shared_with_subaccounts": 1}, 422, "1300", "'shared_with_subaccounts' must be a boolean"),
]


async def test_refused(domains: Domains) -> None:
    api = domains.api
    for change, status, code, description in REFUSED:
        answer = await api("POST", "/sending-domains", {"domain": NAME, **change})
        assert (answer.status, told(answer)["code"]) == (status, code), change
        assert told(answer)["description"].startswith(description), (change, told(answer))
    for body in (b"", b"[]", b"{", b"[" * 100_000):
        assert (await api("POST", "/sending-domains", body)).status == 400
    assert (await api("GET", "/sending-domains")).body["results"] == []
    assert not (domains.folder / SECRET_FILE).exists()
    for method, path, sent in (
        ("GET", PATH, None),
        ("PUT", PATH, {}),
        ("DELETE", PATH, None),
        ("POST", f"{PATH}/verify", {}),
        ("GET", "/sending-domains/%2e%0d%0a", None),
    ):
        answer = await api(method, path, sent)
        assert (answer.status, told(answer)["code"]) == (404, "1600")
    await made(domains)
    answer = await api("POST", "/sending-domains", {"domain": NAME})
    assert (answer.status, told(answer)["description"]) == (409, f"Domain '{NAME}' already exists")
    answer = await api("PUT", PATH, {"is_default_bounce_domain": True})
    assert (answer.status, told(answer)["code"]) == (400, "1200")
    for wanted in ({"postmaster_at_verify": True}, {"abuse_at_token": "x"}, {"verification_mailbox_verify": True}):
        answer = await api("POST", f"{PATH}/verify", wanted)
        assert (answer.status, told(answer)["code"]) == (400, "1200")


@pytest.mark.parametrize("kind", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
async def test_keys_of_ones_own(domains: Domains, kind: PrivateFormat) -> None:
    api = domains.api
    key = key_of_ours(kind)
    dkim = await made(domains, dkim={**key, "signing_domain": "acme.example", "headers": "from:to"})
    assert dkim == {
        "public": bare(key["public"]),
        "selector": "own1",
        "signing_domain": "acme.example",
        "headers": "from:to",
    }
    plain = {**key, "private": bare(key["private"]), "public": bare(key["public"])}
    assert (await made(domains, "b.example", dkim=plain))["public"] == bare(key["public"])
    other = key_of_ours()
    answer = await api("POST", "/sending-domains", {"domain": "c.example", "dkim": {**key, "public": other["public"]}})
    assert (answer.status, told(answer)["description"]) == (422, "'dkim.public' does not belong to 'dkim.private'")
    assert bare(key["private"])[:40] not in str((await api("GET", "/sending-domains")).body)


async def test_dns_shows_whose_it_is(domains: Domains) -> None:
    api = domains.api
    dkim = await made(domains)
    record = f"{dkim['selector']}._domainkey.{NAME}"

    async def verified(**wanted: bool) -> dict[str, Any]:
        answer = await api("POST", f"{PATH}/verify", wanted)
        assert answer.status == 200, answer.body
        results: dict[str, Any] = answer.body["results"]
        return results

    assert "dns" not in await verified()
    found = await verified(dkim_verify=True, cname_verify=True, mx_verify=True)
    assert [found[f"{each}_status"] for each in ("dkim", "cname", "mx")] == ["invalid"] * 3
    assert found["dns"]["dkim_error"] == f"DNS DKIM query error: there is no TXT record at {record}"
    assert found["dns"]["cname_error"] == f"there is no CNAME record at {NAME}; it must name {BOUNCES}"
    assert not found["ownership_verified"]
    for text, error in (
        ('"v=DKIM1;"', "'v=DKIM1;' is missing a p= tag"),
        (f'"v=DKIM1; k=rsa; p={bare(key_of_ours()["public"])[:250]}"', ""),
        ('"v=DKIM1; k=ed25519; p=AAAA"', "inappropriate key algorithm"),
        (f'"v=DKIM1; h=sha1; p={"A" * 80}"', "inappropriate hash algorithm"),
        ('"v=DKIM1; p="', "key revoked"),
        (f'"{"x" * 250}"', "DNS DKIM query error"),
    ):
        domains.publish(record, "TXT", text)
        found = await verified(dkim_verify=True)
        assert (found["dkim_status"], found["cname_status"]) == ("invalid", "invalid")
        assert error in found["dns"]["dkim_error"] != ""
    domains.publish_key({**dkim, "public": bare(key_of_ours()["public"])})
    assert (await verified(dkim_verify=True))["dns"]["dkim_error"].endswith("is another key")
    domains.publish_key(dkim)
    found = await verified(dkim_verify=True)
    assert (found["dkim_status"], found["ownership_verified"]) == ("valid", True)
    assert found["dns"]["dkim_record"].startswith("v=DKIM1; k=rsa; h=sha256; p=MI") and "dkim_error" not in found["dns"]
    domains.publish(NAME, "CNAME", "elsewhere.example.")
    found = await verified(cname_verify=True)
    assert found["dns"]["cname_error"] == f"the CNAME record of {NAME} names elsewhere.example, not {BOUNCES}"
    domains.publish(NAME, "CNAME", f"{BOUNCES.upper()}.")
    assert (await verified(cname_verify=True))["cname_status"] == "valid"
    domains.publish(NAME, "MX", f"10 {BOUNCES}.")
    assert (await verified(mx_verify=True))["mx_status"] == "valid"
    # A name server that is ill takes nothing away; a record that is gone does.
    domains.dns.faults[f"{record} TXT"] = fails("SERVFAIL")
    found = await verified(dkim_verify=True)
    assert (found["dkim_status"], found["dns"]["dkim_error"][:30]) == ("valid", "the look-up failed, ask again ")
    domains.dns.faults.clear()
    domains.publish(record, "TXT", '"gone"')
    assert (await verified(dkim_verify=True))["dkim_status"] == "invalid"
    shown = (await api("GET", "/sending-domains?dkim_status=invalid&mx_status=valid&ownership_verified=true")).body
    assert [each["domain"] for each in shown["results"]] == [NAME]
    assert (await api("GET", "/sending-domains?dkim_status=valid")).body["results"] == []
    assert (await api("GET", "/sending-domains?dkim_status=x")).status == 400


async def test_a_new_key_must_stand_in_dns(domains: Domains) -> None:
    api = domains.api
    before = await made(domains)
    key = key_of_ours()
    answer = await api("PUT", PATH, {"dkim": key})
    assert (answer.status, told(answer)["message"]) == (400, "request to remote endpoint failed")
    assert told(answer)["description"].startswith(f"Unable to verify DKIM record of {NAME}. DNS DKIM query error: ")
    assert (await api("GET", PATH)).body["results"]["dkim"] == before
    after = {"public": bare(key["public"]), "selector": "own1", "signing_domain": NAME, "headers": before["headers"]}
    domains.publish_key(after)
    answer = await api("PUT", PATH, {"dkim": key, "tracking_domain": ""})
    assert (answer.status, answer.body["results"]) == (
        200,
        {"message": "Successfully Updated Domain.", "domain": NAME},
    )
    shown = (await api("GET", PATH)).body["results"]
    assert (shown["dkim"], shown["status"]["dkim_status"]) == (after, "valid")
    assert (await api("PUT", PATH, {"dkim": {"signing_domain": "acme.example"}})).status == 400
    domains.publish_key({**after, "signing_domain": "acme.example"})
    assert (await api("PUT", PATH, {"dkim": {"signing_domain": "acme.example", "headers": "from"}})).status == 200
    shown = (await api("GET", PATH)).body["results"]["dkim"]
    assert shown == {**after, "signing_domain": "acme.example", "headers": "from"}
    assert (await api("PUT", PATH, {"dkim": {"signing_domain": ""}, "shared_with_subaccounts": True})).status == 200
    shown = (await api("GET", PATH)).body["results"]
    assert (shown["dkim"]["signing_domain"], shown["shared_with_subaccounts"]) == (NAME, True)


async def test_of_several_who_want_it_at_once_one_gets_it(domains: Domains) -> None:
    # Not more than there are threads for the client and the keys.
    who = [domains.api, domains.api.of(7), domains.api, domains.api.of(7)]
    wanted = {"domain": NAME, "dkim_key_length": 1024}
    answers = await asyncio.gather(*(each("POST", "/sending-domains", wanted) for each in who))
    assert [answer.status for answer in answers].count(200) == 1
    owner = answers.index(next(answer for answer in answers if answer.status == 200)) % 2
    codes = [told(answer)["code"] for answer in answers[owner::2] if answer.status != 200]
    assert codes == ["1602"]
    assert [told(answer)["code"] for answer in answers[1 - owner :: 2]] == ["7004", "7004"]


async def test_subaccounts(domains: Domains) -> None:
    api, seven, eight = domains.api, domains.api.of(7), domains.api.of(8)
    plain = {"generate_dkim": False}
    await api("POST", "/sending-domains", {"domain": "shared.example", "shared_with_subaccounts": True, **plain})
    await api("POST", "/sending-domains", {"domain": "private.example", **plain})
    await seven("POST", "/sending-domains", {"domain": "seven.example", **plain})
    requests: tuple[tuple[str, str, Any], ...] = (
        ("GET", "", None),
        ("PUT", "", {}),
        ("DELETE", "", None),
        ("POST", "/verify", {"mx_verify": True}),
    )
    for method, more, body in requests:
        for name in ("seven.example", "private.example"):
            answer = await eight(method, f"/sending-domains/{name}{more}", body)
            assert (answer.status, told(answer)["code"]) == (404, "1600"), (method, name)
    for method, more, body in requests[1:]:
        assert (await eight(method, f"/sending-domains/shared.example{more}", body)).status == 403
    for who in (eight, api):
        answer = await who("POST", "/sending-domains", {"domain": "seven.example"})
        assert (answer.status, told(answer)["code"]) == (400, "7004")
    assert [each["domain"] for each in (await eight("GET", "/sending-domains")).body["results"]] == ["shared.example"]
    found = [
        (each["domain"], each.get("subaccount_id"), each.get("shared_with_subaccounts"))
        for each in (await api("GET", "/sending-domains")).body["results"]
    ]
    assert found == [("private.example", None, False), ("seven.example", 7, None), ("shared.example", None, True)]
    answer = await seven("PUT", "/sending-domains/seven.example", {"shared_with_subaccounts": True})
    assert (answer.status, told(answer)["code"]) == (422, "1300")
    assert (await api("DELETE", "/sending-domains/seven.example", subaccount=7)).status == 204
