"""What a listener's options must be to make TLS, AUTH and hygiene work: files that are there, choices that fit."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Iterable, Iterator

from postroad.config.schema import ListenerOptions, SmtpUser
from postroad.config.tlsrules import unreadable, words

MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "XOAUTH2")
CHECKS = ("spf", "dkim", "arc")
_AUTHSERV = re.compile(r"[A-Za-z0-9._\-]{1,253}\Z")
_ZONE = re.compile(r"(?:[A-Za-z0-9_\-]{1,63}\.)+[A-Za-z0-9_\-]{1,63}\Z")


def listener_problems(listener: ListenerOptions) -> Iterator[tuple[str, int | None, str]]:
    """(option, index in its list or None, what is wrong with it)."""
    yield from _tls(listener)
    for index, mechanism in enumerate(listener.auth_mechanisms):
        if mechanism not in MECHANISMS:
            yield "auth_mechanisms", index, f"must be one of {', '.join(MECHANISMS)}"
    if (listener.auth or listener.kind == "submission") and listener.tls == "no" and not listener.auth_without_tls:
        yield "tls", None, "must not be no where users log in: nobody could (auth_without_tls allows it in the clear)"
    for index, given in enumerate(listener.dns_lists):
        if not _ZONE.match(given.zone):
            yield "dns_lists", index, "must name a zone, as in bl.example.net"
        for answer in given.answers:
            try:
                ipaddress.ip_network(answer)
            except ValueError:
                yield "dns_lists", index, f"{answer[:60]} is no address and no network"


def authentication_problems(listener: ListenerOptions, keys: Iterable[str], name: str) -> Iterator[tuple[str, str]]:
    """(option, what is wrong with it). keys: domains with a [[dkim]] key. name: the authserv_id that counts."""
    for check in listener.authenticate_checks:
        if check not in CHECKS:
            yield "authenticate_checks", f"must be some of {', '.join(CHECKS)}"
    if listener.authserv_id and not _AUTHSERV.match(name):
        yield "authserv_id", "must be a name, as mx.example.com is"
    if not listener.authenticate:
        for option in ("dmarc", "arc_seal"):
            if getattr(listener, option) in ("enforce", True):
                yield option, "needs authenticate = true"
        return
    if listener.relay:
        yield "authenticate", "checks nobody where relay lets every client send anywhere"
    if listener.arc_seal and "arc" not in listener.authenticate_checks:
        yield "arc_seal", 'needs "arc" in authenticate_checks'
    if listener.arc_seal and not any(("." + name.lower()).endswith("." + key.lower()) for key in keys):
        yield "arc_seal", f"needs a [[dkim]] key of {name} or a domain above it"


def user_problems(users: Iterable[SmtpUser]) -> Iterator[tuple[int, str]]:
    """(index, what is wrong with it). The password's hash is not repeated."""
    from postroad.auth.scram import parse_verifier  # only where there are users: it takes its time to load

    seen: set[str] = set()
    for index, user in enumerate(users):
        try:
            parse_verifier(user.password)
        except ValueError as error:
            yield index, f"password must be what `postroad smtp-user` prints: it {error}"
        if user.name in seen:
            yield index, "stands twice"
        if not user.name or user.name.lower().startswith("smtp_injection"):
            yield index, "name must not be empty or SMTP_Injection, under which API keys log in"
        seen.add(user.name)


def _tls(listener: ListenerOptions) -> Iterator[tuple[str, int | None, str]]:
    if listener.tls != "no" and not listener.certificates:
        yield "certificates", None, "TLS needs at least one"
    if listener.tls_client != "no" and not listener.tls_client_ca:
        yield "tls_client_ca", None, "is needed to check the certificates of clients"
    if listener.tls_client_relay and listener.tls_client == "no":
        yield "tls_client_relay", None, "needs tls_client: nobody is asked for a certificate"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if listener.tls_client_ca:
        why = unreadable(listener.tls_client_ca)
        if not why:
            try:
                context.load_verify_locations(listener.tls_client_ca)
            except (ssl.SSLError, ValueError) as error:
                why = f"holds no certificates: {words(error)}"
        if why:
            yield "tls_client_ca", None, why
    for index, given in enumerate(listener.certificates):
        why = unreadable(given.certificate) or (unreadable(given.key) if given.key else "")
        if not why:
            try:
                context.load_cert_chain(given.certificate, given.key or None, password=lambda: b"")
            except (ssl.SSLError, ValueError) as error:
                why = f"and its key can't be used: {words(error)}"
        if why:
            yield "certificates", index, why
    if listener.tls_ciphers:
        try:
            context.set_ciphers(listener.tls_ciphers)
        except (ssl.SSLError, ValueError):
            yield "tls_ciphers", None, "names no cipher that OpenSSL has"
