"""The certificates of a listener: a TLS context for each, chosen by the name the client asks for (SNI, RFC 6066 3)."""

from __future__ import annotations

import ssl

from cryptography import x509

from postroad.config.schema import CertificateOptions, ListenerOptions

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Certificates:
    """Reads the files. Raises OSError or ValueError (ssl.SSLError is an OSError) when one can't be used.

    context: for new sessions; the first certificate answers those who ask for no name that we have.
    """

    def __init__(self, options: ListenerOptions) -> None:
        self._exact: dict[str, ssl.SSLContext] = {}
        self._parents: dict[str, ssl.SSLContext] = {}
        contexts = [_context(options, given) for given in options.certificates]
        if not contexts:
            raise ValueError("TLS needs a certificate")
        self.context = contexts[0]
        self.context.sni_callback = self._choose
        for given, context in zip(options.certificates, contexts, strict=True):
            for name in given.names or names_of(given.certificate):
                names, key = (self._parents, name[2:]) if name.startswith("*.") else (self._exact, name)
                names.setdefault(key.lower(), context)

    def find(self, name: str) -> ssl.SSLContext:
        """The context for a client that asks for this name."""
        name = name.lower().rstrip(".")
        return self._exact.get(name) or self._parents.get(name.partition(".")[2]) or self.context

    def _choose(self, session: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        if name:
            session.context = self.find(name)


def names_of(certificate: str) -> list[str]:
    """The DNS names the first certificate of a PEM file is for. Raises OSError, ValueError."""
    with open(certificate, "rb") as file:
        leaf = x509.load_pem_x509_certificate(file.read())
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)


def _context(options: ListenerOptions, given: CertificateOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[options.tls_min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if options.tls_ciphers:
        context.set_ciphers(options.tls_ciphers)
    # No password: nobody is there to type it. Without an answer of ours OpenSSL would ask the terminal.
    context.load_cert_chain(given.certificate, given.key or None, password=lambda: b"")
    if options.tls_client != "no":
        context.load_verify_locations(options.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if options.tls_client == "required" else ssl.CERT_OPTIONAL
    return context
