"""What a listener's options for TLS, AUTH and hygiene must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme

from postroad.auth.sasl import MECHANISMS
from postroad.auth.scram import make_verifier
from postroad.config.listenerrules import CHECKS, authentication_problems, listener_problems
from postroad.config.listenerrules import MECHANISMS as KNOWN
from postroad.config.rules import findings
from postroad.config.schema import CertificateOptions, Config, DnsListOptions, ListenerOptions, SmtpUser
from postroad.policy import checks

PASSWORD = str(make_verifier("secret password", b"salt", 4096))


@pytest.fixture
def good(tmp_path: Path) -> dict[str, Any]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name in ("one", "two"):
        leaf = ca.issue_cert(f"{name}.example")
        leaf.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.pem"))
        leaf.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
    (tmp_path / "empty").touch()
    certificate = CertificateOptions(certificate=str(tmp_path / "one.pem"), key=str(tmp_path / "one.key"))
    return {"tls": "required", "certificates": [certificate]}


def test_what_is_good(good: dict[str, Any], tmp_path: Path) -> None:
    listener = ListenerOptions(
        **good,
        kind="submission",
        tls_client="optional",
        tls_client_ca=str(tmp_path / "ca.pem"),
        tls_client_relay=True,
        tls_ciphers="ECDHE+AESGCM",
        proxy_networks=["10.0.0.0/8"],
        dns_lists=[DnsListOptions(zone="bl.example.net", answers=["127.0.0.2", "127.0.0.4/30"])],
    )
    config = Config(listener=[listener], smtp_user=[SmtpUser(name="a", password=PASSWORD)])
    assert [finding for finding in findings(config) if finding.path[0] in ("listener", "smtp_user")] == []


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"certificates": []}, "certificates", "at least one"),
        ({"tls": "no", "auth": True}, "tls", "nobody could"),
        ({"tls": "no", "kind": "submission"}, "tls", "nobody could"),
        ({"auth_mechanisms": ["PLAIN", "CRAM-MD5"]}, "auth_mechanisms", "must be one of"),
        ({"tls_client": "required"}, "tls_client_ca", "is needed"),
        ({"tls_client_relay": True}, "tls_client_relay", "needs tls_client"),
        ({"tls_client": "optional", "tls_client_ca": "FOLDER/gone"}, "tls_client_ca", "can't be read"),
        ({"tls_client": "optional", "tls_client_ca": "FOLDER/empty"}, "tls_client_ca", "no certificates"),
        ({"tls_client": "optional", "tls_client_ca": "ca.pem"}, "tls_client_ca", "absolute path"),
        ({"certificates": [("one.pem", "two.key")]}, "certificates", "can't be used"),
        ({"certificates": [("empty", "one.key")]}, "certificates", "can't be used"),
        ({"certificates": [("gone", "")]}, "certificates", "can't be read"),
        ({"tls_ciphers": "NONSENSE"}, "tls_ciphers", "names no cipher"),
        ({"dns_lists": [DnsListOptions(zone="nonsense")]}, "dns_lists", "must name a zone"),
        ({"dns_lists": [DnsListOptions(zone="b.example", answers=["x"])]}, "dns_lists", "no network"),
    ],
)
def test_what_is_not(good: dict[str, Any], tmp_path: Path, changes: dict[str, Any], name: str, text: str) -> None:
    made = {
        key: value.replace("FOLDER", str(tmp_path)) if isinstance(value, str) else value
        for key, value in changes.items()
    }
    if made.get("certificates"):
        made["certificates"] = [
            CertificateOptions(certificate=str(tmp_path / certificate), key=str(tmp_path / key) if key else "")
            for certificate, key in changes["certificates"]
        ]
    found = list(listener_problems(ListenerOptions(**{**good, **made})))
    assert [(option, text in told) for option, _, told in found] == [(name, True)]


@pytest.mark.parametrize("option", ["proxy_networks", "xclient_networks"])
def test_networks(option: str) -> None:
    config = Config(listener=[ListenerOptions(**{option: ["10.0.0.1/8"]})])  # type: ignore[arg-type]
    assert [finding.path for finding in findings(config) if option in finding.path] == [("listener", 0, option, 0)]


@pytest.mark.parametrize(
    ("users", "index"),
    [
        ([SmtpUser(name="a", password="hunter2")], 0),
        ([SmtpUser(name="a", password=PASSWORD.replace("4096", "12"))], 0),
        ([SmtpUser(name="a", password=PASSWORD), SmtpUser(name="a", password=PASSWORD)], 1),
        ([SmtpUser(name="", password=PASSWORD)], 0),
        ([SmtpUser(name="SMTP_injection", password=PASSWORD)], 0),
    ],
)
def test_users(users: list[SmtpUser], index: int) -> None:
    found = [finding for finding in findings(Config(smtp_user=users)) if finding.path[0] == "smtp_user"]
    assert [finding.path for finding in found] == [("smtp_user", index)]
    assert "hunter2" not in found[0].text


def test_the_mechanisms_are_those_there_are() -> None:
    assert KNOWN == MECHANISMS


@pytest.mark.parametrize(
    ("changes", "option", "text"),
    [
        ({"dmarc": "enforce"}, "dmarc", "needs authenticate"),
        ({"arc_seal": True}, "arc_seal", "needs authenticate"),
        ({"authenticate": True, "relay": True}, "authenticate", "checks nobody"),
        ({"authenticate": True, "authenticate_checks": ["spf", "bimi"]}, "authenticate_checks", "some of spf, dkim"),
        ({"authenticate": True, "arc_seal": True, "authenticate_checks": ["spf"]}, "arc_seal", 'needs "arc"'),
        ({"authenticate": True, "arc_seal": True, "authserv_id": "mx.other.test"}, "arc_seal", "[[dkim]] key"),
        ({"authserv_id": "a b"}, "authserv_id", "must be a name"),
    ],
)
def test_authentication_that_can_not_be(changes: dict[str, Any], option: str, text: str) -> None:
    listener = ListenerOptions(address="127.0.0.1:25", **changes)
    found = list(authentication_problems(listener, ["ours.test"], listener.authserv_id or "mx.ours.test"))
    assert [(name, text in told) for name, told in found] == [(option, True)]


def test_authentication_that_can_be() -> None:
    listener = ListenerOptions(authenticate=True, dmarc="enforce", arc_seal=True)
    assert not list(authentication_problems(listener, ["Ours.test"], "mx.ours.test"))
    assert CHECKS == checks.CHECKS
