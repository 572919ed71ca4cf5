"""Clients that others wrote, each as a function that sends one message and tells what the client saw."""

from __future__ import annotations

import contextlib
import http.client
import json
import smtplib
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.scenarios.server import Server


class Said(NamedTuple):
    """The last reply: its code, SMTP's or HTTP's, and its text."""

    code: int
    text: str


Client = Callable[[Server, str, str, bytes], Said]
"""(server, sender, recipient, content with CRLF line ends) -> Said"""


def dotted(content: bytes) -> bytes:
    """As DATA carries it, the final dot included but not its CRLF (RFC 5321 4.5.2)."""
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b"."


def swaks(server: Server, sender: str, recipient: str, content: bytes) -> Said:
    # Without -ndf swaks would replace every backslash and n in the text by a line break.
    file = _file(server, dotted(content))
    command = ["swaks", "--server", f"127.0.0.1:{server.smtp_port}", "--from", sender, "--to", recipient]
    done = _run(*command, "--data", f"@{file}", "-ndf", "--hide-send")
    return _last_reply(done, "<")


def smtp_lib(server: Server, sender: str, recipient: str, content: bytes) -> Said:
    with contextlib.closing(smtplib.SMTP("127.0.0.1", server.smtp_port, "client.test", timeout=30)) as client:
        client.ehlo()
        client.mail(sender, () if content.isascii() else ("BODY=8BITMIME",))
        client.rcpt(recipient)
        code, text = client.data(content)
    return Said(code, text.decode())


def bdat(server: Server, sender: str, recipient: str, content: bytes) -> Said:
    """smtplib knows no CHUNKING (RFC 3030); its connection does. In chunks of 1000 octets, which cut lines anywhere."""
    with contextlib.closing(smtplib.SMTP("127.0.0.1", server.smtp_port, "client.test", timeout=30)) as client:
        client.ehlo()
        client.mail(sender)
        client.rcpt(recipient)
        code, text = 250, b""
        for start in range(0, max(len(content), 1), 1000):
            chunk = content[start : start + 1000]
            last = " LAST" if start + 1000 >= len(content) else ""
            client.send(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
            code, text = client.getreply()
    return Said(code, text.decode())


def curl_smtp(server: Server, sender: str, recipient: str, content: bytes) -> Said:
    file = _file(server, content)
    url = f"smtp://127.0.0.1:{server.smtp_port}/client.test"
    done = _run("curl", "-sv", url, "--mail-from", sender, "--mail-rcpt", recipient, "-T", str(file))
    return _last_reply(done, "<")


def smtp_source(server: Server, sender: str, recipient: str, content: bytes) -> Said:
    """It says nothing of the replies, but ends with an error after any that refuses."""
    file = _file(server, content.replace(b"\r\n", b"\n"))
    target = f"127.0.0.1:{server.smtp_port}"
    done = _run("/usr/sbin/smtp-source", "-F", str(file), "-f", sender, "-t", recipient, target)
    return Said(250 if done.returncode == 0 else 500, done.stderr)


def postroad_send(server: Server, sender: str, recipient: str, content: bytes) -> Said:
    file = _file(server, content)
    target = f"127.0.0.1:{server.smtp_port}"
    done = server.command("send", recipient, "--from", sender, "--eml", str(file), "--server", target, "--json")
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert (done.returncode == 0) == answer["accepted"]
    return Said(answer["code"], answer["reply"])


def rfc822(sender: str, recipient: str, content: bytes) -> bytes:
    """A transmission with this content. Octets that are not UTF-8 stand in it as they are."""
    text = json.dumps(content.decode("latin-1"), ensure_ascii=False).encode("latin-1")
    head = json.dumps({"recipients": [{"address": recipient}], "return_path": sender})
    return head[:-1].encode() + b', "content": {"email_rfc822": ' + text + b"}}"


def http_lib(server: Server, sender: str, recipient: str, content: bytes) -> Said:
    return post(server, rfc822(sender, recipient, content))


def curl_http(server: Server, sender: str, recipient: str, content: bytes) -> Said:
    return curl_post(server, rfc822(sender, recipient, content))


def curl_post(server: Server, body: bytes) -> Said:
    file = _file(server, body)
    url = f"http://127.0.0.1:{server.http_port}/api/v1/transmissions"
    headers = ["-H", f"Authorization: {server.key}", "-H", "Content-Type: application/json"]
    done = _run("curl", "-s", url, *headers, "--data-binary", f"@{file}", "-w", "\n%{http_code}")
    text, _, code = done.stdout.rpartition("\n")
    return Said(int(code), text)


def post(server: Server, body: bytes, **headers: str) -> Said:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)) as client:
        given: dict[str, Any] = {"Authorization": server.key, "Content-Type": "application/json", **headers}
        client.request("POST", "/api/v1/transmissions", body, given)
        reply = client.getresponse()
        return Said(reply.status, reply.read().decode())


def _file(server: Server, content: bytes) -> Path:
    file = server.folder / f"to-send-{threading.get_ident()}"
    file.write_bytes(content)
    return file


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, encoding="latin-1", timeout=60, check=False
    )


def _last_reply(done: subprocess.CompletedProcess[str], mark: str) -> Said:
    """From a transcript: the last reply that is not the 221 to QUIT. swaks marks refusals with "<**"."""
    lines = [line.lstrip("<*-~ ") for line in (done.stdout + done.stderr).splitlines() if line.startswith(mark)]
    replies = [line for line in lines if line[:3].isdigit() and not line.startswith("221")]
    assert replies, done
    return Said(int(replies[-1][:3]), replies[-1][4:])
