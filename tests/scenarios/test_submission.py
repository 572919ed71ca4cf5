"""Submission to a real server: users and keys log in over TLS; a reload brings new users and new certificates."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from postroad.auth import new_key
from tests.inject.trusted import Authority
from tests.scenarios.ends import audit, events
from tests.scenarios.real_ends import Aiosmtpd
from tests.scenarios.server import Server, free_port, serving, until

PASSWORD = "correct horse battery"
OPTIONS = """
[[listener]]
address = "127.0.0.1:{port}"
kind = "submission"
tls = "required"
[[listener.certificates]]
certificate = "{certificate}"
key = "{key}"

[[http.keys]]
label = "app"
sha256 = "{hash}"
grants = ["smtp"]
"""


def user_table(name: str) -> str:
    """What `postroad smtp-user` prints."""
    command = [sys.executable, "-m", "postroad", "smtp-user", name, "--stdin"]
    done = subprocess.run(command, input=f"{PASSWORD}\n", capture_output=True, text=True, timeout=60, check=True)
    assert PASSWORD not in done.stdout
    return done.stdout


def submit(port: int, context: ssl.SSLContext, user: str, password: str, recipient: str) -> str:
    """The version of TLS. Raises what smtplib raises."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.starttls(context=context)
        client.login(user, password)
        client.sendmail("s@s.test", [recipient], "Subject: x\r\n\r\nx\r\n")
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.version() or ""


def arrival(end: Aiosmtpd, recipient: str) -> bytes:
    found: list[bytes] = []

    def look() -> bool:
        found[:] = [mail.content for mail in end.arrived() if recipient in mail.recipients]
        return bool(found)

    until(look, f"mail to {recipient}")
    return found[0]


def reload(server: Server) -> None:
    done = server.command("config", "reload", "--config", str(server.config))
    assert done.returncode == 0, done.stderr


def test_users_keys_and_what_a_reload_brings(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.files("127.0.0.1")
    api_key, digest = new_key()
    port = free_port()
    extra = OPTIONS.format(port=port, certificate=certificate, key=key, hash=digest) + user_table("first")
    context = authority.client()
    with Aiosmtpd() as end, serving(tmp_path / "server", gateway=end.port, extra=extra) as server:
        version = submit(port, context, "first", PASSWORD, "a@one.test")
        content = arrival(end, "a@one.test")
        assert b"with ESMTPSA id " in content and version.encode() in content
        assert b"\r\nMessage-ID: " in content.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r")
        submit(port, context, "SMTP_Injection", api_key, "b@two.test")
        arrival(end, "b@two.test")

        with pytest.raises(smtplib.SMTPAuthenticationError):
            submit(port, context, "second", PASSWORD, "c@three.test")
        server.config.write_text(server.config.read_text() + user_table("second"))
        other, other_key = authority.files("renewed.test")
        Path(certificate).write_bytes(Path(other).read_bytes())
        Path(key).write_bytes(Path(other_key).read_bytes())
        reload(server)
        with pytest.raises(ssl.SSLCertVerificationError):
            submit(port, context, "second", PASSWORD, "c@three.test")
        context.check_hostname = False
        submit(port, context, "second", PASSWORD, "c@three.test")
        arrival(end, "c@three.test")

        Path(certificate).write_text("nonsense")
        failed = server.command("config", "reload", "--config", str(server.config))
        assert failed.returncode != 0 and "key can't be used" in failed.stderr
        submit(port, context, "second", PASSWORD, "d@four.test")
        arrival(end, "d@four.test")
        Path(certificate).write_bytes(Path(other).read_bytes())
        log = server.log.read_text("utf-8", "replace")
    audit(server)
    kept = repr(events(server.data)) + log
    assert PASSWORD not in kept and api_key not in kept
