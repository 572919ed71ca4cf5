"""A sending domain from its making to a signature that the far end verifies; whose mail a key signs."""

from __future__ import annotations

import asyncio
import http.client
import json
import smtplib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dkim
import pytest

from postroad.auth import new_key
from postroad.auth.dkim import Result, Verification, verify
from postroad.lab.dnsserver import LabDns, Zone
from tests.auth.names import Table
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import Server, serving, until


class Place(NamedTuple):
    server: Server
    far: FarEnd
    dns: LabDns
    key: str
    records: dict[str, list[bytes]]

    def ask(self, method: str, path: str, body: object = None, *, subaccount: int = 0) -> Any:
        """The results."""
        status, answer = self.answer(method, path, body, subaccount)
        assert status in (200, 204), answer
        return answer["results"] if answer else None

    def answer(self, method: str, path: str, body: object, subaccount: int) -> tuple[int, Any]:
        """Over a connection of its own: any engine may get it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=60)
        fields = {"Authorization": self.key, "Content-Type": "application/json"}
        if subaccount:
            fields["X-MSYS-SUBACCOUNT"] = str(subaccount)
        try:
            connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), fields)
            answer = connection.getresponse()
            octets = answer.read()
            return answer.status, json.loads(octets) if octets else None
        finally:
            connection.close()

    def made(self, domain: str, *, subaccount: int = 0, **more: object) -> None:
        """A domain whose key stands in DNS."""
        body = {"domain": domain, "dkim_key_length": 1024, **more}
        key = self.ask("POST", "/sending-domains", body, subaccount=subaccount)["dkim"]
        name = f"{key['selector']}._domainkey.{domain}"
        text = f"v=DKIM1; k=rsa; p={key['public']}"
        self.records[name] = [text.encode()]
        parts = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
        self.far.call(lambda: self.dns.zone.set(name, "TXT", [parts]))
        found = self.ask("POST", f"/sending-domains/{domain}/verify", {"dkim_verify": True}, subaccount=subaccount)
        assert found["dkim_status"] == "valid", found

    def signed(self, author: str, address: str, *, subaccount: int = 0) -> list[Verification]:
        content = {"from": author, "subject": "s", "text": "t"}
        body = {"content": content, "recipients": [{"address": address}]}
        self.ask("POST", "/transmissions", body, subaccount=subaccount)
        return self.found(address)

    def found(self, address: str) -> list[Verification]:
        def arrived() -> list[bytes]:
            return [taken.content for taken in self.far.taken if taken.recipient == address]

        until(arrived, f"mail to {address}")
        (content,) = arrived()
        found = asyncio.run(verify(content, Table({**self.records}), now=time.time()))
        if found:  # the judgement of another implementation
            assert dkim.verify(content, dnsfunc=lambda name, timeout=5: self.records[name.decode().rstrip(".")][0])
        return found


@pytest.fixture(params=[1, 2])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    key, digest = new_key()
    extra = f'[[http.keys]]\nlabel = "all"\nsha256 = "{digest}"\ngrants = ["admin", "transmissions"]\n'
    with FarEnd() as far:
        dns = LabDns(Zone())
        extra += f'[dns]\nservers = ["127.0.0.1:{far.run(dns.start())}"]\n'
        with serving(tmp_path, gateway=far.port, engines=request.param, extra=extra) as server:
            found = Place(server, far, dns, key, {})
            until(lambda: found.answer("GET", "/sending-domains", None, 0)[0] == 200, "the store is open")
            yield found
            assert server.stop() == 0
        far.run(dns.stop())


def passes(found: list[Verification], domain: str) -> bool:
    return [(one.result, one.domain) for one in found] == [(Result.PASS, domain)]


def test_mail_is_signed_with_the_key_that_dns_shows(place: Place) -> None:
    place.ask("POST", "/sending-domains", {"domain": "unverified.test", "dkim_key_length": 1024})
    place.made("mail.test")
    assert place.signed("a@unverified.test", "1@one.test") == []
    # Each request may come to another engine, and mail for each domain may be another engine's.
    for number in range(4):
        assert passes(place.signed("a@Mail.test", f"2@d{number}.test"), "mail.test")
    assert place.signed("a@sub.mail.test", "3@one.test") == []
    # From one's own program, without the API.
    with smtplib.SMTP("127.0.0.1", place.server.smtp_port, "client.test", timeout=30) as client:
        client.sendmail("a@mail.test", ["4@one.test"], "From: a@mail.test\r\nSubject: s\r\n\r\nbody\r\n")
    assert passes(place.found("4@one.test"), "mail.test")
    place.ask("DELETE", "/sending-domains/mail.test")
    assert place.signed("a@mail.test", "5@one.test") == []


def test_a_key_signs_its_accounts_mail_alone(place: Place) -> None:
    seven, eight = (
        place.ask("POST", "/subaccounts", {"name": name, "setup_api_key": False})["subaccount_id"] for name in "ab"
    )
    place.made("seven.test", subaccount=seven)
    place.made("private.test")
    place.made("shared.test", shared_with_subaccounts=True)
    assert passes(place.signed("a@seven.test", "1@one.test", subaccount=seven), "seven.test")
    assert place.signed("a@seven.test", "2@one.test", subaccount=eight) == []
    assert place.signed("a@seven.test", "3@one.test") == []
    assert place.signed("a@private.test", "4@one.test", subaccount=seven) == []
    assert passes(place.signed("a@shared.test", "5@one.test", subaccount=seven), "shared.test")
    place.ask("PUT", "/sending-domains/shared.test", {"shared_with_subaccounts": False})
    assert place.signed("a@shared.test", "6@one.test", subaccount=seven) == []
