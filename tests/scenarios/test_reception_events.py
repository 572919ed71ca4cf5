"""What the events of reception and the counters tell of a session: its TLS, its login, and what failed."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import urllib.request
from base64 import b64encode
from pathlib import Path

from postroad.auth import new_key
from tests.inject.trusted import Authority
from tests.scenarios.ends import events
from tests.scenarios.real_ends import Aiosmtpd
from tests.scenarios.server import Server, free_port, serving, until
from tests.scenarios.test_submission import OPTIONS, PASSWORD, submit, user_table

SESSION = ("tls_version", "tls_cipher", "auth_method")


def counted(server: Server) -> dict[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/metrics", timeout=30) as reply:
        lines = reply.read().decode().splitlines()
    found = (line.rsplit(" ", 1) for line in lines if line.startswith("postroad_smtp_"))
    return {name.partition("{")[0]: value for name, value in found}


def test_tls_and_login_are_told_and_failures_are_counted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.files("127.0.0.1")
    port = free_port()
    extra = (
        OPTIONS.format(port=port, certificate=certificate, key=key, hash=new_key()[1])
        + user_table("first")
        + 'senders = ["@s.test"]\n'
    )
    context = authority.client()
    with Aiosmtpd() as end, serving(tmp_path / "server", gateway=end.port, extra=extra) as server:
        version = submit(port, context, "first", PASSWORD, "a@one.test")
        with smtplib.SMTP("127.0.0.1", server.smtp_port, timeout=30) as client:
            client.sendmail("s@s.test", ["b@one.test"], "Subject: x\r\n\r\nx\r\n")
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.starttls(context=context)
            client.login("first", PASSWORD)
            assert client.mail("somebody@else.test")[0] == 553
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.starttls(context=context)
            client.ehlo()
            assert client.docmd("AUTH", "PLAIN " + b64encode(b"\0first\0wrong").decode())[0] == 535
        with socket.create_connection(("127.0.0.1", port), 30) as sock, sock.makefile("rb") as stream:
            stream.readline()
            sock.sendall(b"EHLO x.test\r\n")
            while stream.readline()[3:4] == b"-":
                pass
            sock.sendall(b"STARTTLS\r\n")
            assert stream.readline().startswith(b"220")
            sock.sendall(b"this is no TLS\r\n")
            with contextlib.suppress(OSError):
                while sock.recv(1000):
                    pass
        until(lambda: len(end.arrived()) == 2, "both messages arrived")
        counts = counted(server)
        assert counts["postroad_smtp_auth_failures_total"] == "1"
        assert counts["postroad_smtp_tls_failures_total"] == "1"
        assert server.stop() == 0
        told = events(server.data)
    injected = {event["rcpt_to"]: event for event in told if event["type"] == "injection"}
    over_tls = injected["a@one.test"]
    assert over_tls["tls_version"] == version
    assert over_tls["tls_cipher"] and over_tls["auth_method"]
    assert not any(name in injected["b@one.test"] for name in SESSION)
    (refused,) = (event for event in told if event["type"] == "policy_rejection")
    assert [refused[name] for name in SESSION] == [over_tls[name] for name in SESSION]
    assert not any(name in event for event in told if event["type"] == "delivery" for name in SESSION)
