"""Every secret that a server takes goes through success and failure with a trace running, and is looked for afterwards
in all that was logged, kept, answered and shown."""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Receiver
from aiosmtpd.smtp import AuthResult, LoginPassword, Session

from postroad.auth import new_key
from postroad.auth.dkim import unseal
from tests.inject.trusted import Authority
from tests.scenarios.server import Server, free_port, serving, until
from tests.scenarios.test_submission import PASSWORD, submit, user_table

WRONG_PASSWORD = "wrong-horse-battery"
WRONG_KEY = "0123456789abcdef-no-key-of-ours"
UPSTREAM = "upstream-open-sesame"


class _Mail:
    def __init__(self) -> None:
        self.came: list[str] = []
        self.logins = 0
        self.open = False

    async def handle_DATA(self, server: Receiver, session: Session, envelope: object) -> str:
        self.came += envelope.rcpt_tos  # type: ignore[attr-defined]
        return "250 2.0.0 ok"

    def login(self, server: Receiver, session: object, envelope: object, mechanism: str, data: object) -> AuthResult:
        """Refuses until `open`."""
        assert isinstance(data, LoginPassword) and data.password == UPSTREAM.encode()
        self.logins += 1
        return AuthResult(success=self.open, handled=False)


@contextlib.contextmanager
def upstream(mail: _Mail):  # type: ignore[no-untyped-def]
    controller = Controller(
        mail,
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=mail.login,
        auth_require_tls=False,
    )
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def forms(secret: str, *users: str) -> set[bytes]:
    """As it is, and as SMTP and HTTP carry it."""
    plain = [secret, *(f"\0{user}\0{secret}" for user in users), *(f"{user}:{secret}" for user in users)]
    octets = [*(text.encode() for text in plain), xoauth2(secret)]
    return {secret.encode()} | {b64encode(each).rstrip(b"=") for each in octets}


def by_token(port: int, context: ssl.SSLContext, token: str) -> int:
    """XOAUTH2 with this as the token; the code of the last reply."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.starttls(context=context)
        client.ehlo()
        code, _ = client.docmd("AUTH", "XOAUTH2 " + b64encode(xoauth2(token)).decode())
        return client.docmd("")[0] if code == 334 else code


def xoauth2(token: str) -> bytes:
    return f"user=SMTP_Injection\1auth=Bearer {token}\1\1".encode()


def http(server: Server, key: str, path: str, method: str = "GET") -> str:
    body = b'{"recipients": [{"address": "h@x.test"}], "content": {"from": "s@s.test", "subject": "x", "text": "x"}}'
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.http_port}{path}",
        body if method == "POST" else None,
        {"Authorization": key, "Content-Type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return str(reply.read(), "utf-8", "replace")
    except urllib.error.HTTPError as error:
        return f"{error.code} {str(error.read(), 'utf-8', 'replace')}"


def opened(key: Path, secret: Path) -> set[bytes]:
    """What a sealed key holds, as PEM has it and as octets."""
    private = unseal(key.read_text(), "s.test", "sel", bytes.fromhex(secret.read_text().strip()))
    octets = b64decode(private.pem().splitlines()[1])[-32:]  # RFC 8410 7: the key ends the structure
    return {private.pem().splitlines()[1], octets, b64encode(octets)[:-2], octets.hex().encode()}


def in_the_clear(port: int) -> None:
    """Somebody who sends his password where it is not asked for."""
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.recv(1000)
        login = b64encode(f"\0first\0{PASSWORD}".encode())
        sock.sendall(b"EHLO x.test\r\nAUTH PLAIN " + login + b"\r\n" + login + b"\r\nQUIT\r\n")
        while sock.recv(1000):
            pass


def test_no_secret_is_logged_kept_or_shown(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.files("127.0.0.1")
    context = authority.client()
    token, token_hash = new_key()
    port = free_port()
    (tmp_path / "upstream.secret").write_text(UPSTREAM)
    dkim = tmp_path / "dkim.key"
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "postroad",
            "dkim",
            "keygen",
            "s.test",
            "sel",
            "--algorithm",
            "ed25519",
            "--out",
            str(dkim),
            "--secret",
            str(tmp_path / "dkim.secret"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    extra = (
        f'[[listener]]\naddress = "127.0.0.1:{port}"\nkind = "submission"\ntls = "required"\n'
        f'[[listener.certificates]]\ncertificate = "{certificate}"\nkey = "{key}"\n'
        f'[[http.keys]]\nlabel = "app"\nsha256 = "{token_hash}"\ngrants = ["smtp", "admin", "transmissions"]\n'
        f'[[dkim]]\ndomain = "s.test"\nselector = "sel"\nkey = "{dkim}"\nsecret = "{tmp_path / "dkim.secret"}"\n'
        + (users := user_table("first"))
    )
    verifier = re.findall(r"[\w+/=]{40,}", users)
    assert len(verifier) == 2, "StoredKey and ServerKey"
    mail = _Mail()
    said: list[str] = []
    with upstream(mail) as peer:
        delivery = (
            f'gateway = "127.0.0.1:{peer}"\nsmtp_auth_user = "us"\nsmtp_auth_in_clear = true\ntls = "no"\n'
            f'smtp_auth_secret = "file:{tmp_path / "upstream.secret"}"'
        )
        # In its debug mode asyncio tells what took long, with the arguments: hashing passwords does.
        debug = ["env", "PYTHONASYNCIODEBUG=1", "PYTHONDEVMODE=1"]
        with serving(tmp_path / "server", delivery=delivery, extra=extra, prefix=debug) as server:
            trace = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "postroad",
                    "trace",
                    "--peer",
                    "127.0.0.0/8",
                    "--seconds",
                    "100",
                    "--config",
                    str(server.config),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            until(lambda: '"trace"' in server.command("console", "log", "--json").stdout, "the trace runs")
            submit(port, context, "first", PASSWORD, "a@one.test")
            submit(port, context, "SMTP_Injection", token, "b@two.test")
            assert by_token(port, context, token) == 235
            assert by_token(port, context, WRONG_KEY) == 535
            for user, password in (("first", WRONG_PASSWORD), ("nobody", PASSWORD), ("SMTP_Injection", WRONG_KEY)):
                with contextlib.suppress(smtplib.SMTPException):
                    submit(port, context, user, password, "c@three.test")
            in_the_clear(port)
            for presented in (
                token,
                WRONG_KEY,
                f"Basic {b64encode(f'{token}:'.encode()).decode()}",
                f"Bearer {token}x",
            ):
                said.append(http(server, presented, "/api/v1/transmissions", "POST"))
                said.append(http(server, presented, "/api/admin/v1/overview"))
            until(lambda: mail.logins >= 1, "we log in upstream, and are refused")
            mail.open = True
            for domain in ("one.test", "two.test"):
                server.command("path", "flush", domain)
            until(lambda: {"a@one.test", "b@two.test"} <= set(mail.came), "all mail has gone out")
            for command in (
                ("config", "explain"),
                ("config", "check"),
                ("config", "reload"),
                ("console", "status"),
                ("console", "log"),
                ("events", "tail", "--from", "begin"),
                ("queue", "list"),
                ("journal", "dump"),
                ("policy", "list"),
                ("dkim", "dns", "s.test", "sel", "--key", str(dkim), "--secret", str(tmp_path / "dkim.secret")),
            ):
                done = server.command(*command)
                assert done.returncode == 0, (command, done.stderr)
                said.append(done.stdout + done.stderr)
            trace.terminate()
            out, _ = trace.communicate(timeout=30)
            said.append(out.decode(errors="replace"))
            assert "AUTH" in said[-1], "the trace saw the logins"
            assert server.stop() == 0
            kept = {
                str(each.relative_to(server.folder)): each.read_bytes()
                for each in sorted(server.folder.rglob("*"))
                if each.is_file() and each != server.config
            }
    secrets = {
        "password": forms(PASSWORD, "first", "nobody"),
        "wrong password": forms(WRONG_PASSWORD, "first"),
        "API key": forms(token, "SMTP_Injection"),
        "wrong API key": forms(WRONG_KEY, "SMTP_Injection"),
        "login upstream": forms(UPSTREAM, "us"),
        "verifier of a password": {text.encode() for text in verifier},
        "key of DKIM": opened(dkim, tmp_path / "dkim.secret"),
        "secret of the keys": {(tmp_path / "dkim.secret").read_bytes().strip()},
        "certificate's key": {Path(key).read_bytes().splitlines()[1]},
    }
    places = kept | {f"answer {number}": text.encode() for number, text in enumerate(said)}
    assert len(kept) > 4
    found = [
        f"{name} in {where}"
        for name, texts in secrets.items()
        for where, octets in places.items()
        if any(text in octets for text in texts)
    ]
    assert found == []
