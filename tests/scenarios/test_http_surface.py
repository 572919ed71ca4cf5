"""The whole HTTP surface of a running server: engines in front, control behind them, over TLS as well."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
from pathlib import Path
from typing import Any

import trustme

from postroad.auth import new_key
from tests.scenarios.server import Server, free_port, until


def ask(
    method: str, path: str, body: object = None, *, key: str, port: int, tls: ssl.SSLContext | None = None
) -> tuple[int, dict[str, str], Any]:
    if tls is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    else:
        connection = http.client.HTTPSConnection("localhost", port, timeout=60, context=tls)
    try:
        fields = {"Authorization": key, "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), fields)
        answer = connection.getresponse()
        raw = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        is_json = found.get("content-type") == "application/json"
        return answer.status, found, json.loads(raw) if is_json and raw else raw
    finally:
        connection.close()


def test_engines_and_control_answer_as_one(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "api.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    key, digest = new_key()
    port = free_port()
    options = f'tls_address = "127.0.0.1:{port}"'
    more = f"""
[[http.certificates]]
certificate = "{certificate}"

[[http.keys]]
label = "operator"
sha256 = "{digest}"
grants = ["admin"]
"""
    server = Server(tmp_path / "s", http=options, extra=more, engines=2)
    server.start()
    try:

        def call(method: str, path: str, body: object = None, *, tls: bool = True) -> tuple[int, dict[str, str], Any]:
            place = port if tls else server.http_port
            return ask(method, path, body, key=key, tls=trusting if tls else None, port=place)

        until(lambda: call("GET", "/api/v1/account")[0] == 200, "control serves")
        changed = call("PUT", "/api/v1/account/", {"company_name": "Example"})
        assert changed[0] == 200, changed
        for tls in (True, False):
            status, fields, shown = call("GET", "/api/v1/account?", tls=tls)
            assert (status, shown["results"]["company_name"]) == (200, "Example")
            assert fields["x-request-id"]
            assert call("GET", "/docs", tls=tls)[0] == 200
            paths = call("GET", "/api/v1/openapi.json", tls=tls)[2]["paths"]
            assert {"/api/v1/transmissions", "/api/v1/account", "/api/admin/v1/suspend"} <= set(paths)
            assert call("GET", "/api/v1/nothing", tls=tls)[0] == 404
        limited = ask("GET", "/api/v1/account", key=server.key, port=server.http_port)
        assert limited[0] == 403  # the grant transmissions alone

        # Control falls: its requests wait for the next one, mail does not.
        pid = server.children()["control"]
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        sent = {
            "recipients": [{"address": "to@b.example"}],
            "content": {"from": "from@a.example", "subject": "s", "text": "t"},
        }
        assert call("POST", "/api/v1/transmissions", sent)[0] == 200
        seen = set()

        def back() -> bool:
            status, fields, _ = call("GET", "/api/v1/account")
            seen.add(status)
            assert status == 200 or (status == 503 and fields["retry-after"])
            return status == 200

        until(back, "control is back")
        assert call("GET", "/api/v1/account")[2]["results"]["company_name"] == "Example"
    finally:
        server.stop()


def test_a_store_that_can_not_be_opened_stops_no_mail(tmp_path: Path) -> None:
    server = Server(tmp_path / "s")
    server.data.mkdir(parents=True)
    (server.data / "postroad.db").write_bytes(b"this is no database, by far" * 100)
    server.start()
    try:
        status, fields, told = ask("GET", "/api/v1/account", key=server.key, port=server.http_port)
        assert (status, fields["retry-after"], told["errors"][0]["code"]) == (503, "5", "1502")
        sent = {
            "recipients": [{"address": "to@b.example"}],
            "content": {"from": "from@a.example", "subject": "s", "text": "t"},
        }
        assert ask("POST", "/api/v1/transmissions", sent, key=server.key, port=server.http_port)[0] == 200
        until(lambda: b"no_store" in server.log.read_bytes(), "the alarm")
    finally:
        server.stop()
