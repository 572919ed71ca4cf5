"""The files and ciphers that TLS options name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme

from postroad.config.rules import findings
from postroad.config.schema import Config, DeliveryOptions, DnsOptions, DomainOptions, Section, TlsReportOptions
from postroad.config.scoperules import scope_findings
from postroad.config.tlsrules import tls_problems


@pytest.fixture
def files(tmp_path: Path) -> Path:
    ca = trustme.CA()
    leaf = ca.issue_cert("us.example")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "chain.pem"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    ca.issue_cert("us.example").private_key_pem.write_to_path(str(tmp_path / "other.key"))
    (tmp_path / "empty").touch()
    return tmp_path


def problems(section: type[Section], files: Path, **options: str) -> dict[str, str]:
    made: dict[str, Any] = {
        name: str(files / value) if name != "tls_ciphers" and not value.startswith("!") else value.lstrip("!")
        for name, value in options.items()
    }
    if section is DomainOptions:
        made["match"] = "example.com"
    return dict(tls_problems(section(**made)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tls_ca": "ca.pem"},
        {"tls_certificate": "both.pem"},
        {"tls_certificate": "chain.pem", "tls_key": "key.pem"},
        {"tls_ciphers": "ECDHE+AESGCM"},
    ],
)
def test_right(files: Path, options: dict[str, str]) -> None:
    assert problems(DeliveryOptions, files, **options) == {}


@pytest.mark.parametrize(
    ("options", "option", "words"),
    [
        ({"tls_ca": "gone.pem"}, "tls_ca", "can't be read: No such file"),
        ({"tls_ca": "empty"}, "tls_ca", "holds no certificates"),
        ({"tls_ca": "!ca.pem"}, "tls_ca", "is not an absolute path"),
        ({"tls_ca": "!/a\0b"}, "tls_ca", "is not an absolute path"),
        ({"tls_certificate": "chain.pem"}, "tls_certificate", "and its key can't be used"),
        ({"tls_certificate": "chain.pem", "tls_key": "other.key"}, "tls_certificate", "key values mismatch"),
        ({"tls_certificate": "both.pem", "tls_key": "gone"}, "tls_key", "can't be read"),
        ({"tls_ciphers": "NONSENSE"}, "tls_ciphers", "names no cipher"),
    ],
)
def test_wrong(files: Path, options: dict[str, str], option: str, words: str) -> None:
    found = problems(DeliveryOptions, files, **options)
    assert list(found) == [option]
    assert words in found[option]


def test_a_scope_may_leave_the_key_to_another(files: Path) -> None:
    assert problems(DomainOptions, files, tls_certificate="chain.pem") == {}
    assert list(problems(DomainOptions, files, tls_certificate="gone")) == ["tls_certificate"]


def test_they_count_wherever_they_stand() -> None:
    config = Config(
        delivery=DeliveryOptions(tls_ca="/gone/ca.pem"),
        domain=[DomainOptions(match="example.com", tls_key="/gone/key.pem")],
    )
    fatal = [finding.path for finding in (*findings(config), *scope_findings(config)) if finding.fatal]
    assert fatal == [("delivery", "tls_ca"), ("domain", 0, "tls_key")]


def fatal(config: Config) -> list[tuple[str | int, ...]]:
    return [finding.path for finding in findings(config) if finding.fatal]


@pytest.mark.parametrize(
    ("server", "wrong"),
    [
        ("127.0.0.1", False),
        ("127.0.0.53:5353", False),
        ("::1", False),
        ("[::1]:53", False),
        ("192.0.2.1", True),
        ("[2001:db8::1]:53", True),
    ],
)
def test_a_validating_resolver_is_on_this_machine(server: str, wrong: bool) -> None:
    assert (("dns", "servers", 0) in fatal(Config(dns=DnsOptions(servers=[server], validating=True)))) is wrong
    assert not fatal(Config(dns=DnsOptions(servers=[server])))


@pytest.mark.parametrize(
    ("contact", "wrong"), [("", True), ("nobody", True), ("a b@c.example", True), ("a@b.example", False)]
)
def test_reports_come_from_somebody(contact: str, wrong: bool) -> None:
    assert bool(fatal(Config(tls_reports=TlsReportOptions(send=True, contact=contact)))) is wrong
    assert not fatal(Config(tls_reports=TlsReportOptions(contact=contact)))
