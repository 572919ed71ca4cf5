"""Is this the host that its TLSA records describe (RFC 6698, 7671, 7672 3.1)? Pure: records and certificates in, a
verdict out.

Python's ssl can't check TLSA records, so the handshake takes any certificate and the check follows at once, before a
word of SMTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from postroad.deliver.tls import Failure, Trouble
from postroad.net import Tlsa

_TA, _EE = 2, 3  # usages; 0 and 1 are of no use between mail hosts (RFC 7672 3.1.3)
_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}
_LENGTHS = {1: 32, 2: 64}
# A chain longer than this is an attack on our time. Real ones have three or four.
_MOST = 10
# Extensions that must be understood, and are, or that can't make a bad chain of a good one.
_UNDERSTOOD = {
    x509.BasicConstraints.oid,
    x509.KeyUsage.oid,
    x509.ExtendedKeyUsage.oid,
    x509.SubjectAlternativeName.oid,
    x509.CertificatePolicies.oid,
}


def usable(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """The records that can authenticate anything, in an order of their own (so that equal sets are equal)."""
    return tuple(
        sorted(
            {
                record
                for record in records
                if record.usage in (_TA, _EE)
                and record.selector in (0, 1)
                and (record.matching == 0 or _LENGTHS.get(record.matching) == len(record.data))
                and record.data
            }
        )
    )


@dataclass(frozen=True)
class DaneCheck:
    """records: usable ones. names: those that the certificate may be for, when a record names its authority: the name
    the records stand under and the recipient's domain (RFC 7672 3.2.2). Two are equal that look for the same."""

    records: tuple[Tlsa, ...]
    names: tuple[str, ...]

    def __call__(self, chain: Sequence[bytes], now: datetime | None = None) -> Trouble | None:
        """chain: DER, as the host sent it, its own first. now: for tests; None: the clock's, as OpenSSL does it too."""
        if not chain:
            return Trouble(Failure.NOT_TRUSTED, "the host showed no certificate")
        try:
            return self._check([x509.load_der_x509_certificate(der) for der in chain[:_MOST]], now)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            return Trouble(Failure.NOT_TRUSTED, f"the host's certificate can't be read: {str(error)[:200]}")

    def _check(self, chain: list[x509.Certificate], now: datetime | None) -> Trouble | None:
        # 3.1.1: what DANE-EE names is right, whatever names and dates it holds.
        if any(_matches(record, chain[0]) for record in self.records if record.usage == _EE):
            return None
        anchors = [record for record in self.records if record.usage == _TA]
        if not anchors:
            return Trouble(Failure.NOT_TRUSTED, "the host's certificate is not the one of its TLSA records")
        # The host must send the authority's certificate (3.1.2); one that the DNS holds whole may be absent.
        known = chain + [anchor for record in anchors if (anchor := _held(record)) is not None]
        if not self._leads_to_anchor(chain[0], known, anchors, now):
            return Trouble(Failure.NOT_TRUSTED, "the host's certificate leads to no authority of its TLSA records")
        if not any(_names(chain[0], name) for name in self.names):
            return Trouble(Failure.WRONG_HOST, f"the host's certificate is not for {self.names[0]}")
        return None

    def _leads_to_anchor(
        self,
        leaf: x509.Certificate,
        known: list[x509.Certificate],
        anchors: list[Tlsa],
        now: datetime | None,
    ) -> bool:
        """Follow signatures from the leaf to a certificate that a record names. An anchor may stand anywhere; what lies
        above it does not count. An issuer may have several certificates (a renewed one, a cross-signed one)."""
        moment = now or datetime.now(leaf.not_valid_after_utc.tzinfo)
        if not _valid(leaf, moment):
            return False
        reached = [(leaf, 0)]
        seen = {leaf}
        while reached:
            below, depth = reached.pop()
            for issuer in known:
                if issuer in seen or issuer.subject != below.issuer:
                    continue
                if not _may_issue(issuer, depth) or not _valid(issuer, moment) or not _issued(issuer, below):
                    continue
                if any(_matches(record, issuer) for record in anchors):
                    return True
                seen.add(issuer)
                reached.append((issuer, depth + 1))
        return False


def _matches(record: Tlsa, certificate: x509.Certificate) -> bool:
    if record.selector == 0:
        data = certificate.public_bytes(Encoding.DER)
    else:
        data = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = _DIGESTS.get(record.matching)
    return record.data == (digest(data).digest() if digest is not None else data)


def _held(record: Tlsa) -> x509.Certificate | None:
    if record.selector or record.matching:
        return None
    try:
        return x509.load_der_x509_certificate(record.data)
    except ValueError:
        return None


def _issued(issuer: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _may_issue(certificate: x509.Certificate, below: int) -> bool:
    """Is it an authority's, for so many more of them below it? (RFC 5280 4.2.1.3, 4.2.1.9)"""
    if not _understood(certificate):
        return False
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    if not basic.ca or (basic.path_length is not None and below > basic.path_length):
        return False
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _understood(certificate: x509.Certificate) -> bool:
    """Name constraints above all are not; a chain with them is refused rather than misread."""
    return all(extension.oid in _UNDERSTOOD or not extension.critical for extension in certificate.extensions)


def _valid(certificate: x509.Certificate, moment: datetime) -> bool:
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc and _understood(certificate)


def _names(certificate: x509.Certificate, name: str) -> bool:
    """RFC 6125 6.4: DNS names, the whole left-most label may be "*". Without any, the subject's common name."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        found = [str(each.value) for each in names[:1]]
    wanted = name.lower().rstrip(".")
    above = wanted.partition(".")[2]
    for each in found:
        shown = each.lower().rstrip(".")
        if shown == wanted or (shown.startswith("*.") and above and shown[2:] == above):
            return True
    return False
