"""TLSA records against chains of certificates, good and bad, without a network."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from postroad.deliver.dane import DaneCheck, usable
from postroad.deliver.tls import Failure
from postroad.net import Tlsa

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "mx.example.net"


class Signer:
    """A certificate and its key."""

    def __init__(
        self,
        name: str,
        issuer: Signer | None = None,
        *,
        ca: bool = True,
        length: int | None = None,
        names: tuple[str, ...] = (),
        expired: bool = False,
        extra: x509.ExtensionType | None = None,
        plain: bool = False,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        above = issuer or self
        start = NOW - timedelta(days=10)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(above.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=5 if expired else 50))
        )
        if not plain:
            builder = builder.add_extension(x509.BasicConstraints(ca, length), critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), False)
        if extra is not None:
            builder = builder.add_extension(extra, critical=True)
        self.certificate = builder.sign(above.key, hashes.SHA256())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def record(self, usage: int = 2) -> Tlsa:
        return Tlsa(usage, 0, 1, hashlib.sha256(self.der).digest())


def leaf(issuer: Signer, *, names: tuple[str, ...] = (NAME,), expired: bool = False, plain: bool = False) -> Signer:
    return Signer("leaf", issuer, ca=False, names=names, expired=expired, plain=plain)


def check(record: Tlsa, *chain: Signer, names: tuple[str, ...] = (NAME, "example.net")) -> Failure | None:
    found = DaneCheck((record,), names)([each.der for each in chain], NOW)
    return None if found is None else found.failure


ROOT = Signer("root")
MIDDLE = Signer("middle", ROOT)


def test_chains_that_lead_to_the_authority() -> None:
    assert check(ROOT.record(), leaf(ROOT), ROOT) is None
    assert check(ROOT.record(), leaf(MIDDLE), MIDDLE, ROOT) is None
    assert check(ROOT.record(), leaf(MIDDLE), ROOT, MIDDLE) is None, "in whatever order"
    assert check(MIDDLE.record(), leaf(MIDDLE), MIDDLE) is None, "what is above the authority does not count"
    assert check(ROOT.record(), leaf(ROOT, plain=True), ROOT) is None


def test_chains_that_do_not() -> None:
    twin = Signer("root")
    late = Signer("late", ROOT, expired=True)
    no_authority = Signer("no authority", ROOT, ca=False)
    bare = Signer("bare", ROOT, plain=True)
    short = Signer("short", ROOT, length=0)
    below = Signer("below", short)
    limited = x509.NameConstraints([x509.DNSName("example.org")], None)
    tied = Signer("tied", ROOT, extra=limited)
    wrong = Failure.NOT_TRUSTED
    assert check(ROOT.record(), leaf(ROOT)) is wrong, "its certificate is not sent"
    assert check(ROOT.record(), leaf(MIDDLE), ROOT) is wrong, "one between is missing"
    assert check(ROOT.record(), leaf(twin), ROOT) is wrong, "another authority of the same name"
    assert check(ROOT.record(), leaf(twin), twin, ROOT) is wrong
    assert check(ROOT.record(), leaf(late), late, ROOT) is wrong, "one between has expired"
    assert check(ROOT.record(), leaf(ROOT, expired=True), ROOT) is wrong
    assert check(ROOT.record(), leaf(no_authority), no_authority, ROOT) is wrong
    assert check(ROOT.record(), leaf(bare), bare, ROOT) is wrong
    assert check(ROOT.record(), leaf(short), short, ROOT) is None
    assert check(ROOT.record(), leaf(below), below, short, ROOT) is wrong, "a path that may have no length"
    assert check(ROOT.record(), leaf(tied), tied, ROOT) is wrong, "constraints that we do not understand"
    own = leaf(ROOT)
    assert check(own.record(2), own, ROOT) is wrong, "a host is no authority"
    assert check(ROOT.record(3), leaf(ROOT), ROOT) is wrong, "an authority is no host"


@pytest.mark.parametrize(
    ("shown", "right"),
    [
        (("mx.example.net",), True),
        (("MX.EXAMPLE.NET",), True),
        (("example.net",), True),
        (("a.example", "*.example.net"), True),
        (("*.net",), True),  # for the recipient's domain
        (("*.mx.example.net",), False),
        (("*",), False),
        (("m*.example.net",), False),
        (("mx.example.org",), False),
    ],
)
def test_names(shown: tuple[str, ...], right: bool) -> None:
    found = check(ROOT.record(), leaf(ROOT, names=shown), ROOT)
    assert found is (None if right else Failure.WRONG_HOST)


def test_a_chain_without_end_is_cut() -> None:
    chain = [ROOT]
    for number in range(30):
        chain.append(Signer(f"ca {number}", chain[-1]))
    assert check(ROOT.record(), leaf(chain[-1]), *reversed(chain)) is Failure.NOT_TRUSTED


def test_authorities_that_sign_each_other_make_no_endless_walk() -> None:
    one, two = Signer("one"), Signer("two")
    crossed = [Signer("one", two), Signer("two", one)]
    assert check(ROOT.record(), leaf(one), one, two, *crossed) is Failure.NOT_TRUSTED


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_hostile_octets(chain: list[bytes]) -> None:
    assert DaneCheck((ROOT.record(),), (NAME,))(chain, NOW) is not None


@pytest.mark.parametrize("at", range(0, len(MIDDLE.der), 7))
def test_a_certificate_with_a_flipped_octet(at: int) -> None:
    spoiled = bytearray(MIDDLE.der)
    spoiled[at] ^= 0x55
    own = leaf(MIDDLE)
    assert DaneCheck((ROOT.record(),), (NAME,))([own.der, bytes(spoiled), ROOT.der], NOW) is not None


def test_equal_sets_of_records_are_equal_policies() -> None:
    records = [ROOT.record(), MIDDLE.record(3), Tlsa(1, 0, 1, b"x" * 32), Tlsa(3, 0, 2, b"x" * 32)]
    assert usable(records) == usable(records[::-1])
    assert DaneCheck(usable(records), (NAME,)) == DaneCheck(usable(records[::-1]), (NAME,))
    assert len(usable(records)) == 2
