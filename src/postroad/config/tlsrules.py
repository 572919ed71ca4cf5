"""What the TLS options of a scope must be: files that are there and hold what they should."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from postroad.config.schema import Section


def tls_problems(section: Section) -> Iterator[tuple[str, str]]:
    """(option, what is wrong with it), as far as one scope can tell: its key may be set by another."""
    ca = getattr(section, "tls_ca", None)
    certificate = getattr(section, "tls_certificate", None)
    key = getattr(section, "tls_key", None)
    ciphers = getattr(section, "tls_ciphers", None)
    if not (ca or certificate or key or ciphers):
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    readable = {"": True}
    for name, text in (("tls_ca", ca), ("tls_certificate", certificate), ("tls_key", key)):
        if text:
            why = unreadable(text)
            readable[text] = not why
            if why:
                yield name, why
    if ca and readable[ca]:
        try:
            context.load_verify_locations(ca)
        except (ssl.SSLError, ValueError) as error:
            yield "tls_ca", f"holds no certificates: {words(error)}"
    if certificate and key is not None and readable[certificate] and readable[key]:
        try:
            # No password: nobody is there to type it. Without an answer of ours OpenSSL would ask the terminal.
            context.load_cert_chain(certificate, key or None, password=lambda: b"")
        except (ssl.SSLError, ValueError) as error:
            yield "tls_certificate", f"and its key can't be used: {words(error)}"
    if ciphers:
        try:
            context.set_ciphers(ciphers)
        except (ssl.SSLError, ValueError):
            yield "tls_ciphers", "names no cipher that OpenSSL has"


def unreadable(text: str) -> str:
    if "\0" in text or not text.startswith("/"):
        return "is not an absolute path"
    try:
        with Path(text).open("rb"):
            return ""
    except OSError as error:
        return f"can't be read: {error.strerror}"


def words(error: Exception) -> str:
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
