"""HTTP over TLS: names, versions, and certificates that are renewed."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from postroad.config.schema import CertificateOptions
from tests.api.harness import BODY, Served, post, serving

REQUEST = post(BODY, f"Content-Length: {len(BODY)}", "Connection: close")


def write(authority: trustme.CA, folder: Path, *names: str) -> CertificateOptions:
    made = authority.issue_cert(*names)
    path = folder / f"{names[0]}.pem"
    made.private_key_and_cert_chain_pem.write_to_path(str(path))
    return CertificateOptions(certificate=str(path))


async def ask(served: Served, context: ssl.SSLContext, name: str) -> tuple[bytes, str, bytes]:
    """(status line, TLS version, serial of the certificate)."""
    host, _, port = served.server.tls_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    session = writer.get_extra_info("ssl_object")
    serial = session.getpeercert(binary_form=True)
    writer.write(REQUEST)
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n")[0], session.version(), serial


async def test_names_versions_and_renewal(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificates = [write(authority, tmp_path, "api.example"), write(authority, tmp_path, "other.example")]
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with serving(tls_address="127.0.0.1:0", certificates=certificates) as served:
        first = await ask(served, context, "api.example")
        assert first[:2] == (b"HTTP/1.1 200 OK", "TLSv1.3")
        other = await ask(served, context, "other.example")
        assert other[2] != first[2]
        assert (await served.client.request("GET", "/health")).status == 200  # without TLS, beside it

        write(authority, tmp_path, "api.example")
        assert (await ask(served, context, "api.example"))[2] == first[2]
        served.server.reload_certificates()
        renewed = await ask(served, context, "api.example")
        assert renewed[2] != first[2]

        (tmp_path / "api.example.pem").write_text("no certificate")
        served.server.reload_certificates()
        assert (await ask(served, context, "api.example"))[2] == renewed[2]


async def test_a_client_of_an_old_version_is_refused(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    certificates = [write(authority, tmp_path, "api.example")]
    options: dict[str, Any] = {"tls_address": "127.0.0.1:0", "certificates": certificates}
    async with serving(**options) as served:
        assert (await ask(served, context, "api.example"))[1] == "TLSv1.2"
    async with serving(**options, tls_min_version="1.3") as served:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await ask(served, context, "api.example")


async def test_plain_text_at_the_tls_port_stops_nothing(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    certificates = [write(authority, tmp_path, "api.example")]
    options: dict[str, Any] = {"tls_address": "127.0.0.1:0", "certificates": certificates}
    async with serving(**options) as served:
        host, _, port = served.server.tls_address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(REQUEST)
        assert not (await reader.read()).startswith(b"HTTP")
        writer.close()
        assert (await ask(served, context, "api.example"))[0] == b"HTTP/1.1 200 OK"
