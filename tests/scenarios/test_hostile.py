"""Bad input over real sockets to a real server, with real far ends: smuggled messages, injected header fields,
malformed JSON. What is accepted arrives as the one message it was; nothing else arrives, and the audit is clean."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from copy import deepcopy
from email import message_from_bytes
from email.policy import default
from itertools import product
from typing import Any

import pytest

from tests.scenarios import clients
from tests.scenarios.real_ends import Aiosmtpd, SmtpSink, added
from tests.scenarios.scene import Scene, playing

EVIL = "evil@smuggled.test"


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("sink")
    with SmtpSink(folder / "arrived") as far, playing("smtp-sink", folder / "server", far) as scene:
        yield scene


@pytest.fixture(scope="module")
def aiosmtpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Aiosmtpd() as far, playing("aiosmtpd", tmp_path_factory.mktemp("aiosmtpd"), far) as scene:
        yield scene


@pytest.fixture(params=["sink", "aiosmtpd"])
def scene(request: pytest.FixtureRequest) -> Scene:
    found: Scene = request.getfixturevalue(request.param)
    return found


# ---- smuggling

LINE_ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\0", b"\0\r\n", b"\r\n ", b" \r\n", b"")
HEAD = b"Date: x\r\nMessage-ID: <1@x.test>\r\nSubject: good\r\n\r\n"
SMUGGLED = b"MAIL FROM:<evil@smuggled.test>\r\nRCPT TO:<victim@smuggled.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n"
# Each but CRLF.CRLF, which is the end of a message, and what follows it is another command by right.
VARIANTS = [pair for pair in product(LINE_ENDS, LINE_ENDS) if b"\r\n.\r\n" not in b".".join(pair)]


def bare(content: bytes) -> bool:
    rest = content.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest or b"\0" in rest


def check_one_or_none(scene: Scene, sent: dict[str, bytes], said: dict[str, int], front: list[str]) -> None:
    """Of each: one message, or none if it was refused. Of the smuggler: nothing."""
    arrived = scene.arrived()
    for recipient, content in sent.items():
        if said[recipient] in (200, 250):
            assert added(arrived[recipient].content, content) == front
        else:
            assert recipient not in arrived
    assert not [one for one in scene.far.arrived() if EVIL in one.sender or "victim@smuggled.test" in one.recipients]


def test_smuggling_by_data(scene: Scene) -> None:
    sent, said = {}, {}
    for before, after in VARIANTS:
        recipient = scene.address()
        stream = HEAD + b"text" + before + b"." + after + SMUGGLED
        codes = session(scene, recipient, b"DATA\r\n" + stream + b".\r\nNOOP\r\nQUIT\r\n")
        # The greeting, EHLO, MAIL, RCPT, DATA; the message; NOOP and QUIT.
        assert codes == [220, 250, 250, 250, 354, 550 if bare(stream) else 250, 250, 221], (before, after)
        sent[recipient] = (b"\r\n" + stream).replace(b"\r\n.", b"\r\n")[2:]
        said[recipient] = codes[5]
    assert set(said.values()) == {250, 550}
    check_one_or_none(scene, sent, said, ["Received"])


def test_smuggling_by_bdat(scene: Scene) -> None:
    """Inside a chunk even CRLF.CRLF is content; handed on by DATA it must not end there."""
    sent, said = {}, {}
    for before, after in [*VARIANTS, (b"\r\n", b"\r\n")]:
        recipient = scene.address()
        content = HEAD + b"text" + before + b"." + after + SMUGGLED
        codes = session(scene, recipient, b"BDAT %d LAST\r\n%sNOOP\r\nQUIT\r\n" % (len(content), content))
        assert codes == [220, 250, 250, 250, 550 if bare(content) else 250, 250, 221], (before, after)
        sent[recipient], said[recipient] = content, codes[4]
    assert set(said.values()) == {250, 550}
    check_one_or_none(scene, sent, said, ["Received"])


def session(scene: Scene, recipient: str, rest: bytes) -> list[int]:
    """Everything in one write; the codes of all replies."""
    start = f"EHLO client.test\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<{recipient}>\r\n".encode()
    with socket.create_connection(("127.0.0.1", scene.server.smtp_port), 30) as sock:
        sock.sendall(start + rest)
        with sock.makefile("rb") as stream:
            return [int(line[:3]) for line in stream if line[3:4] == b" "]


def test_smuggling_over_http(scene: Scene) -> None:
    """Lone CRs and LFs become line ends (api.md 2.5), so all variants are lines with a dot, and one message."""
    sent, said = {}, {}
    for before, after in [*VARIANTS, (b"\r\n", b"\r\n")]:
        recipient = scene.address()
        content = b"From: a@sender.test\r\n" + HEAD + b"text" + before + b"." + after + SMUGGLED
        said[recipient] = clients.http_lib(scene.server, "a@sender.test", recipient, content).code
        assert said[recipient] == (422 if b"\0" in content else 200)
        lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        sent[recipient] = lines.replace(b"\n", b"\r\n")
    check_one_or_none(scene, sent, said, [])


# ---- header injection

BREAKS = ("\r\n", "\n", "\r", "\r\n\r\n", "\n\n", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\r\n ")


def transmission(recipient: str) -> dict[str, Any]:
    return {
        "campaign_id": "campaign",
        "return_path": "a@sender.test",
        "metadata": {"key": "value"},
        "recipients": [
            {
                "address": {"email": recipient, "name": "Name", "header_to": recipient},
                "metadata": {"key": "value"},
                "tags": ["tag"],
                "return_path": "a@sender.test",
            }
        ],
        "content": {
            "from": {"email": "a@sender.test", "name": "Sender"},
            "subject": "Subject",
            "reply_to": "a@sender.test",
            "headers": {"X-Own": "value", "Cc": "c@far.test"},
            "text": "text",
            "html": "<p>html</p>",
            "attachments": [{"name": "name", "type": "text/plain", "data": "eA=="}],
            "inline_images": [{"name": "image", "type": "image/png", "data": "eA=="}],
        },
    }


# Ways to each text in it.
PLACES: list[tuple[str | int, ...]] = [
    ("campaign_id",),
    ("return_path",),
    ("metadata", "key"),
    *(("recipients", 0, "address", name) for name in ("email", "name", "header_to")),
    ("recipients", 0, "metadata", "key"),
    ("recipients", 0, "tags", 0),
    ("recipients", 0, "return_path"),
    *(("content", "from", name) for name in ("email", "name")),
    *(("content", name) for name in ("subject", "reply_to")),
    *(("content", "headers", name) for name in ("X-Own", "Cc")),
    *(("content", kind, 0, name) for kind in ("attachments", "inline_images") for name in ("name", "type", "data")),
]


def test_header_injection(aiosmtpd: Scene) -> None:
    """A line break in any member is refused, or does no harm: no field, no part, no recipient comes of it."""
    said: dict[tuple[tuple[str | int, ...], str], int] = {}
    recipients = {}
    for place, mark in product(PLACES, BREAKS):
        recipient = aiosmtpd.address()
        body = transmission(recipient)
        *way, last = place
        inner: Any = body
        for step in way:
            inner = inner[step]
        inner[last] += f"{mark}Evil: yes{mark}Bcc: evil@smuggled.test{mark}{mark}evil"
        reply = clients.post(aiosmtpd.server, json.dumps(body).encode())
        assert reply.code in (200, 400, 422), (place, mark, reply)
        assert set(json.loads(reply.text)) <= {"results", "errors"}
        said[place, mark] = reply.code
        recipients[recipient] = place, mark
    for mark in BREAKS:
        recipient = aiosmtpd.address()
        body = transmission(recipient)
        body["content"]["headers"] = {f"X-Own: value{mark}Evil": "yes"}
        assert clients.post(aiosmtpd.server, json.dumps(body).encode()).code == 422, mark
    for place in PLACES:
        if place[-1] in ("email", "return_path", "header_to", "subject", "reply_to", "X-Own", "Cc"):
            assert {said[place, mark] for mark in ("\r\n", "\n", "\r", "\0")} <= {400, 422}, place
    arrived = aiosmtpd.arrived()
    accepted = {recipient for recipient, (place, mark) in recipients.items() if said[place, mark] == 200}
    assert arrived.keys() & recipients.keys() == accepted != set()
    clean = message_from_bytes(make_clean(aiosmtpd), policy=default)
    for recipient in accepted:
        place, mark = recipients[recipient]
        mail = message_from_bytes(arrived[recipient].content, policy=default)
        assert mail.keys() == clean.keys(), (place, mark)
        for part, model in zip(mail.walk(), clean.walk(), strict=True):
            assert part.keys() == model.keys(), (place, mark)
    assert not [one for one in aiosmtpd.far.arrived() if EVIL in (one.sender, *one.recipients)]


def make_clean(scene: Scene) -> bytes:
    recipient = scene.address()
    assert clients.post(scene.server, json.dumps(transmission(recipient)).encode()).code == 200
    return scene.arrived()[recipient].content


# ---- malformed requests

GOOD = transmission("never@far.test")
WHOLE = json.dumps(GOOD).encode()


def changed(**members: Any) -> bytes:
    return json.dumps({**deepcopy(GOOD), **members}).encode()


# (status, code of the first error), as api.md 1.5 to 1.7 and 2.6 have them.
NO_JSON, NOT_UTF8, NOBODY = (400, ""), (400, "1305"), (400, "5002")
MISSING, WRONG_TYPE = (422, "1400"), (422, "1300")
MALFORMED: dict[bytes, tuple[int, str]] = {
    b"": NO_JSON,
    b"{": NO_JSON,
    WHOLE[:-1]: NO_JSON,
    WHOLE + b"}": NO_JSON,
    WHOLE + WHOLE: NO_JSON,
    b"[]": NO_JSON,
    b"null": NO_JSON,
    b'"text"': NO_JSON,
    b"NaN": NO_JSON,
    b"[" * 100_000: NO_JSON,
    b'{"a":' * 100_000: NO_JSON,
    b"{'recipients': []}": NO_JSON,
    b'{"recipients": [1' + b"0" * 5000 + b"]}": NO_JSON,
    b"\xff\xfe{}": NOT_UTF8,
    b"\xef\xbb\xbf" + WHOLE: NO_JSON,
    WHOLE.replace(b"Subject", b"\xff"): NOT_UTF8,
    WHOLE.replace(b"Subject", b"\xed\xa0\x80"): NOT_UTF8,
    WHOLE.replace(b"Subject", b"\\ud800"): NO_JSON,
    WHOLE.replace(b"Subject", b"\\x"): NO_JSON,
    WHOLE.replace(b"Subject", b"a\nb"): NO_JSON,
    b"{}": MISSING,
    changed(recipients=None): MISSING,
    changed(recipients=[]): NOBODY,
    changed(recipients={}): MISSING,
    changed(recipients=[None, 1, {}, []]): NOBODY,
    changed(recipients="never@far.test"): WRONG_TYPE,
    changed(content=None): MISSING,
    changed(content=[]): WRONG_TYPE,
    changed(content={}): MISSING,
    changed(content={"from": 1, "subject": [], "text": {}}): WRONG_TYPE,
    changed(options=7): WRONG_TYPE,
    changed(metadata=[1]): WRONG_TYPE,
}


def test_malformed_json(aiosmtpd: Scene) -> None:
    found = {}
    for body in MALFORMED:
        said = clients.post(aiosmtpd.server, body)
        errors = json.loads(said.text)["errors"]
        assert all(isinstance(error["message"], str) for error in errors), body[:200]
        found[body] = said.code, errors[0].get("code", "")
    assert found == MALFORMED
    assert "never@far.test" not in aiosmtpd.arrived()


def test_requests_that_are_no_http(aiosmtpd: Scene) -> None:
    """Each gets one refusal, in the shape of the API, and the connection ends."""
    path = b"/api/v1/transmissions"
    requests = {
        b"EHLO client.test\r\n\r\n": b"400",
        b"\0\0\0\0\r\n\r\n": b"400",
        b"GET " + b"/" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n": b"414",
        b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n": b"400",
        b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n": b"400",
        b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab": b"400",
        b"POST "
        + path
        + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": b"400",
        # The head was good, so a reply may be on its way; all that can be done then is to hang up.
        b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": b"",
        b"CONNECT far.test:25 HTTP/1.1\r\nHost: x\r\n\r\n": b"400",
    }
    for request, status in requests.items():
        with socket.create_connection(("127.0.0.1", aiosmtpd.server.http_port), 30) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.closing(sock.makefile("rb")) as stream:
                head, _, body = stream.read().partition(b"\r\n\r\n")
        if status:
            assert head.split(b" ")[1:2] == [status], request[:100]
            assert json.loads(body)["errors"], request[:100]
        else:
            assert head[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 401"), request[:100]
