"""How a connection is to be encrypted, and what its handshake came to (RFC 3207, 7672, 8461). No sockets here.

A policy is a ladder: the best a host may be asked for stands first, and each later rung is what to be content with when
a handshake on the one before fails. Mail that must be safe has a ladder of one rung. Every failed rung costs a
connection: after a handshake that broke off there is nothing left to speak on.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from enum import Enum, IntEnum
from typing import NamedTuple

from postroad.config.schema import DeliveryOptions, TlsVerify
from postroad.deliver.steps import Demand


class Rung(IntEnum):
    PLAIN = 0
    ENCRYPTED = 1  # with whoever answers
    VERIFIED = 2  # with the one that `Policy.proof` asks for


class Proof(Enum):
    """What makes a host the right one. The values are the words of `Outcome.tls`."""

    NONE = "no"
    CA = "ca"  # its certificate is from an authority we trust
    HOST = "host"  # and names it (RFC 6125)
    DANE = "dane"  # it matches the TLSA records (RFC 7672 3.1)


class Failure(Enum):
    """Why a session was not encrypted as asked. The values are result types of TLS-RPT (RFC 8460 4.3)."""

    NO_STARTTLS = "starttls-not-supported"
    WRONG_HOST = "certificate-host-mismatch"
    EXPIRED = "certificate-expired"
    NOT_TRUSTED = "certificate-not-trusted"
    OTHER = "validation-failure"
    POLICY_FETCH = "sts-policy-fetch-error"
    POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI = "sts-webpki-invalid"
    DNSSEC = "dnssec-invalid"


class Trouble(NamedTuple):
    """A handshake that failed. text: for people, without a code."""

    failure: Failure
    text: str

    @property
    def certificate(self) -> bool:
        """TLS works, and the host is just not shown to be the right one."""
        return self.failure not in (Failure.OTHER, Failure.NO_STARTTLS)


LOST = Trouble(Failure.OTHER, "the connection was lost during the TLS handshake")

# The leaf certificate first, DER. Gives what is wrong with it.
Examine = Callable[[Sequence[bytes]], Trouble | None]


class PolicyKind(Enum):
    """Where a policy comes from. The values are policy types of TLS-RPT (RFC 8460 4.4)."""

    NONE = "no-policy-found"
    STS = "sts"
    DANE = "tlsa"


class Policy(NamedTuple):
    """How sessions with one host are encrypted. examine: for DANE. sni: the name to ask the host for, "" for its own.

    Two that are equal are the same to a connection; `examine` must compare by what it looks for.
    """

    ladder: tuple[Rung, ...]
    proof: Proof = Proof.NONE
    kind: PolicyKind = PolicyKind.NONE
    examine: Examine | None = None
    sni: str = ""


_PROOFS: dict[TlsVerify, Proof] = {"none": Proof.NONE, "ca": Proof.CA, "host": Proof.HOST}
NO_TLS = Policy((Rung.PLAIN,))


def configured(options: DeliveryOptions) -> Policy:
    """What the options alone ask for."""
    if options.tls == "no":
        return NO_TLS
    proof = _PROOFS[options.tls_verify]
    best = Rung.ENCRYPTED if proof is Proof.NONE else Rung.VERIFIED
    if options.tls == "required":
        return Policy((best,), proof)
    return Policy((*dict.fromkeys((best, Rung.ENCRYPTED, Rung.PLAIN)),), proof)


class Request(NamedTuple):
    """What one connection asks of its host: a rung of the policy. server_name: for SNI and HOST, a name or address."""

    demand: Demand
    policy: Policy = NO_TLS
    rung: Rung = Rung.PLAIN
    context: ssl.SSLContext | None = None
    server_name: str = ""

    @property
    def proof(self) -> Proof:
        return self.policy.proof if self.rung is Rung.VERIFIED else Proof.NONE

    @property
    def examine(self) -> Examine | None:
        return self.policy.examine if self.rung is Rung.VERIFIED else None


PLAIN = Request(Demand.NO_TLS)


class Terms:
    """What handshakes by the same options have in common. Making a context takes milliseconds (a system knows 140
    authorities), so each is made once, when it is first needed. What needs files raises OSError when they are bad."""

    def __init__(self, options: DeliveryOptions) -> None:
        self._options = options
        self.policy = configured(options)
        # A host that fails with these may do well with others.
        self.key = repr((options.tls_min_version, options.tls_ciphers, options.tls_certificate, options.tls_ca))
        self._contexts: dict[Proof, ssl.SSLContext] = {}

    def request(self, host: str, policy: Policy, rung: Rung) -> Request:
        if rung is Rung.PLAIN:
            return Request(Demand.NO_TLS, policy)
        demand = Demand.TLS_IF_OFFERED if Rung.PLAIN in policy.ladder else Demand.TLS
        name = policy.sni or host.strip("[]").removeprefix("ipv6:")
        proof = policy.proof if rung is Rung.VERIFIED else Proof.NONE
        context = self.context(Proof.NONE if proof is Proof.DANE else proof)
        return Request(demand, policy, rung, context, name)

    def prepare(self, policy: Policy) -> None:
        """Make what `request` needs for this policy. Reads files."""
        for rung in policy.ladder:
            self.request("host.invalid", policy, rung)

    def prepared(self, policy: Policy) -> bool:
        proofs = {policy.proof if rung is Rung.VERIFIED else Proof.NONE for rung in policy.ladder if rung}
        return all((Proof.NONE if proof is Proof.DANE else proof) in self._contexts for proof in proofs)

    def context(self, proof: Proof) -> ssl.SSLContext:
        """proof: not DANE, which no context can check."""
        found = self._contexts.get(proof)
        if found is None:
            found = self._contexts[proof] = self._make(proof)
        return found

    def _make(self, proof: Proof) -> ssl.SSLContext:
        options = self._options
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = proof is Proof.HOST
        context.verify_mode = ssl.CERT_NONE if proof is Proof.NONE else ssl.CERT_REQUIRED
        context.minimum_version = _VERSIONS[options.tls_min_version]
        if options.tls_ciphers:
            context.set_ciphers(options.tls_ciphers)
        if options.tls_certificate:
            context.load_cert_chain(options.tls_certificate, options.tls_key or None, password=lambda: b"")
        if proof is Proof.NONE:
            pass
        elif options.tls_ca:
            context.load_verify_locations(options.tls_ca)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context


_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Footing:
    """On which rung hosts stand, for those that failed a higher one a while ago. Bounded; oldest out first."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._at: dict[tuple[object, ...], tuple[float, Rung]] = {}

    def rung(self, terms: Terms, policy: Policy, address: str, now: float) -> Rung:
        """The rung to begin with."""
        found = self._at.get(self._key(terms, policy, address)) if self._at else None
        return policy.ladder[0] if found is None or found[0] <= now else found[1]

    def lower(self, terms: Terms, request: Request, address: str, trouble: Trouble, until: float) -> bool:
        """What was requested failed. Is there a lower rung? Then it counts until then."""
        policy, failed = request.policy, request.rung
        # When TLS itself does not work, asking for less of it would only fail again.
        most = failed if trouble.certificate else min(failed, Rung.ENCRYPTED)
        below = next((rung for rung in policy.ladder if rung < most), None)
        if below is None:
            return False
        key = self._key(terms, policy, address)
        self._at.pop(key, None)
        self._at[key] = until, below
        if len(self._at) > self._limit:
            del self._at[next(iter(self._at))]
        return True

    @staticmethod
    def _key(terms: Terms, policy: Policy, address: str) -> tuple[object, ...]:
        return terms.key, policy.ladder, policy.proof, address


# OpenSSL's x509_vfy.h: what a verification found.
_EXPIRED = {9: Failure.EXPIRED, 10: Failure.EXPIRED}
_UNTRUSTED = dict.fromkeys((2, 18, 19, 20, 21, 24, 27, 28), Failure.NOT_TRUSTED)
_NAMES = dict.fromkeys((62, 63, 64), Failure.WRONG_HOST)
_FOUND = {**_EXPIRED, **_UNTRUSTED, **_NAMES}


def trouble(error: BaseException) -> Trouble:
    """What an exception of a handshake says."""
    if isinstance(error, ssl.SSLCertVerificationError):
        found = _FOUND.get(error.verify_code, Failure.NOT_TRUSTED)
        return Trouble(found, f"the host's certificate is not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        words = (error.reason or "it speaks no TLS that we do").replace("_", " ").lower()
        return Trouble(Failure.OTHER, f"the TLS handshake failed: {words}")
    return LOST if isinstance(error, OSError) else Trouble(Failure.OTHER, f"the TLS handshake failed: {error}")
