"""A live Postroad over TLS for clients of the HTTP API that others wrote, and what arrived from them."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple

from postroad.auth import new_key
from tests.inject.trusted import Authority
from tests.net.nameserver import NameServer
from tests.scenarios.ends import events
from tests.scenarios.real_ends import Aiosmtpd
from tests.scenarios.server import Server, free_port, serving, until
from tests.scenarios.test_http_surface import ask

ROOT = Path(__file__).parents[2]
CALLS = ROOT / "tests/clients"
PACKAGES = ROOT / ".venv/clients"  # make: requirements-clients.txt
NODE = ROOT / ".venv/node"  # make: tests/node/package.json


class Foreign(NamedTuple):
    """port: of the API, with TLS, at the name `localhost`. authority: the file that clients must trust."""

    server: Server
    far: Aiosmtpd
    port: int
    key: str
    authority: str

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        status, _, answer = ask(method, f"/api/v1{path}", body, key=self.key, port=self.port, tls=self.tls)
        return status, answer

    def python(self, script: str, place: str, *more: str) -> dict[str, Any]:
        """What tests/clients/`script` tells. place: host and port, or a URL."""
        return self._run(sys.executable, str(CALLS / script), place, self.key, *more)

    def node(self, script: str, *more: str) -> dict[str, Any]:
        return self._run("node", str(CALLS / script), str(NODE), f"https://localhost:{self.port}", self.key, *more)

    def _run(self, *command: str) -> dict[str, Any]:
        done = subprocess.run(
            command,
            env={
                **os.environ,
                "PYTHONPATH": str(PACKAGES),
                "REQUESTS_CA_BUNDLE": self.authority,
                "NODE_EXTRA_CA_CERTS": self.authority,
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def mail(self, *addresses: str) -> dict[str, EmailMessage]:
        """Waits until exactly these have got a message each."""
        wanted = sorted(addresses)
        until(
            lambda: len(self._taken()) >= len(wanted) and self.server.quiet(),
            lambda: f"{wanted}; arrived {self._recipients()}",
        )
        assert self._recipients() == wanted
        return {
            to: email.message_from_bytes(content, EmailMessage, policy=email.policy.default)
            for to, content in self._taken()
        }

    def _taken(self) -> list[tuple[str, bytes]]:
        return [(to, each.content) for each in self.far.arrived() for to in each.recipients]

    def _recipients(self) -> list[str]:
        return sorted(to for to, _ in self._taken())

    def senders(self) -> dict[str, str]:
        """Envelope senders, by recipient."""
        return {to: each.sender for each in self.far.arrived() for to in each.recipients}

    def events(self, kind: str) -> dict[str, dict[str, Any]]:
        """Those of this type, by recipient."""
        return {event["rcpt_to"]: event for event in events(self.server.data) if event["type"] == kind}


@contextlib.contextmanager
def foreign(folder: Path, **options: Any) -> Iterator[Foreign]:
    with Aiosmtpd() as far:
        names = NameServer()  # nothing is there, and no test asks strangers
        far.run(names.start())
        try:
            with _served(folder, far, names, **options) as found:
                yield found
        finally:
            far.run(names.stop())


@contextlib.contextmanager
def _served(folder: Path, far: Aiosmtpd, names: NameServer, **options: Any) -> Iterator[Foreign]:
    authority = Authority(folder)
    certificate, private = authority.files("localhost", "127.0.0.1")
    key, digest = new_key()
    port = free_port()
    extra = f"""
[[http.certificates]]
certificate = "{certificate}"
key = "{private}"

[[http.keys]]
label = "all"
sha256 = "{digest}"
grants = ["admin"]

[dns]
servers = ["127.0.0.1:{names.port}"]
"""
    tls = f'tls_address = "127.0.0.1:{port}"'
    with serving(folder / "s", gateway=far.port, http=tls, extra=extra, **options) as server:
        found = Foreign(server, far, port, key, authority.file)
        until(lambda: found.ask("GET", "/templates")[0] == 200, "the store is open")
        yield found
        assert server.stop() == 0
