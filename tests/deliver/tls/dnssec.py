"""A real name server (knot) with a signed zone, and a real validating resolver (unbound) that trusts its key alone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.dnssec
import dns.dnssectypes
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ed25519

SOA = "@ 300 IN SOA ns hostmaster 1 3600 600 86400 60\n@ 300 IN NS ns\nns 300 IN A 127.0.0.1\n"


def signed(origin: str, text: str, spoiled: str = "") -> tuple[str, str]:
    """The zone with signatures, and its key as a trust anchor. spoiled: "NAME TYPE" whose records are changed after
    they were signed."""
    zone = dns.zone.from_text(f"$ORIGIN {origin}.\n{SOA}{text}", origin=f"{origin}.", relativize=False)
    private = ed25519.Ed25519PrivateKey.generate()
    key = dns.dnssec.make_dnskey(private.public_key(), dns.dnssectypes.Algorithm.ED25519, flags=257)
    with zone.writer() as writer:
        dns.dnssec.sign_zone(zone, writer, keys=[(private, key)], lifetime=86400)
    text = str(zone.to_text(relativize=False))
    if spoiled:
        name, kind = spoiled.split()
        lines = text.splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{name}. ") and f" IN {kind} " in line)
        head, _, digest = lines[at].rpartition(" ")
        lines[at] = f"{head} {'f' if digest[0] != 'f' else '0'}{digest[1:]}"
        text = "\n".join(lines) + "\n"
    return text, f"{origin}. 300 IN DNSKEY {key.to_text()}"


@asynccontextmanager
async def resolving(folder: Path, zones: dict[str, str], anchor: str) -> AsyncIterator[str]:
    """Serve the zones (by origin, in zone-file form); "HOST:PORT" of the resolver."""
    knot_port, port = _free_port(), _free_port()
    for origin, text in zones.items():
        (folder / f"{origin}.zone").write_text(text)
    stanzas = "".join(
        f"  - domain: {origin}\n    storage: {folder}\n    file: {origin}.zone\n    zonefile-sync: -1\n"
        "    journal-content: none\n"
        for origin in zones
    )
    (folder / "knot.conf").write_text(
        f"server:\n  rundir: {folder}\n  listen: 127.0.0.1@{knot_port}\n"
        f"database:\n  storage: {folder}\nlog:\n  - target: stdout\n    any: info\nzone:\n{stanzas}"
    )
    stubs = "".join(f'stub-zone:\n  name: "{origin}."\n  stub-addr: 127.0.0.1@{knot_port}\n' for origin in zones)
    (folder / "unbound.conf").write_text(
        f'server:\n  interface: 127.0.0.1\n  port: {port}\n  do-daemonize: no\n  username: ""\n  chroot: ""\n'
        f'  directory: "{folder}"\n  pidfile: ""\n  use-syslog: no\n  logfile: ""\n  verbosity: 1\n'
        f"  do-not-query-localhost: no\n  do-ip6: no\n  access-control: 127.0.0.0/8 allow\n"
        f'  module-config: "validator iterator"\n  trust-anchor: "{anchor}"\n  num-threads: 1\n'
        f"remote-control:\n  control-enable: no\n{stubs}"
    )
    async with (
        _running("/usr/sbin/knotd", "-c", str(folder / "knot.conf"), until=b"server started"),
        _running("/usr/sbin/unbound", "-d", "-c", str(folder / "unbound.conf"), until=b"start of service"),
    ):
        yield f"127.0.0.1:{port}"


def _free_port() -> int:
    """Free for UDP and TCP a moment ago."""
    for _ in range(50):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                try:
                    other.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
    raise OSError("no port is free for both UDP and TCP")


@asynccontextmanager
async def _running(*command: str, until: bytes) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    said = b""
    try:
        async for line in process.stdout:
            said += line
            if until in line:
                break
        else:
            raise AssertionError(f"{command[0]} did not start: {said.decode()}")
        rest = asyncio.create_task(process.stdout.read())
        yield
        rest.cancel()
        await asyncio.gather(rest, return_exceptions=True)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
