"""The requests that real clients send (api.md 23), and real programs as clients."""

from __future__ import annotations

import asyncio
import email
import email.policy
import gzip
import json
import urllib.error
import urllib.request
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import KEY, Served, simple


def to_and_cc(served: Served, address: str) -> tuple[Any, Any]:
    message = email.message_from_bytes(served.acceptor.message_to(address), policy=email.policy.default)
    return message.get_all("To"), message.get_all("Cc")


async def test_python_sparkpost(served: Served) -> None:
    """A cc given as `Foo <foo@x>` arrives with a name and a header_to that contradict each other (2.4)."""
    to = '"Main" <main@x.example>'
    request = {
        "options": {"open_tracking": True, "click_tracking": True},
        "campaign_id": "c",
        "metadata": {},
        "substitution_data": {},
        "recipients": [
            {
                "address": {"email": "main@x.example", "name": "Main"},
                "metadata": {},
                "substitution_data": {},
                "tags": [],
            },
            {"address": {"name": "Foo", "email": "foo@x.example", "header_to": to}, "metadata": {}, "tags": []},
            {"address": {"email": "bcc@x.example", "header_to": to}, "metadata": {}, "tags": []},
        ],
        "content": {
            "from": {"email": "f@a.example", "name": "F"},
            "subject": "s",
            "html": "<b>h</b>",
            "text": "t",
            "headers": {"CC": "Foo <foo@x.example>,second@x.example"},
            "attachments": [{"type": "text/plain", "name": "a.txt", "data": "aGk="}],
            "template_id": None,
            "reply_to": None,
        },
        "description": None,
        "return_path": None,
    }
    answer = await served.client.post(request, headers={"User-Agent": "python-sparkpost/1.3.10"})
    assert answer.body["results"]["total_accepted_recipients"] == 3
    for address in ("main@x.example", "foo@x.example", "bcc@x.example"):
        assert to_and_cc(served, address) == (
            ["Main <main@x.example>"],
            ["Foo <foo@x.example>, second@x.example"],
        )
    assert not any(b"bcc@" in bytes(each.body) for each in served.acceptor.kept)


async def test_python_sparkpost_without_recipients(served: Served) -> None:
    answer = await served.client.post({"recipients": [], "content": {}})
    assert answer.status == 400
    assert all(each["message"] for each in answer.body["errors"])


async def test_node_sparkpost(served: Served) -> None:
    to = '"Jo" <to@x.example>, second@x.example'
    request = {
        "recipients": [
            {"address": {"email": "to@x.example", "name": "Jo"}},
            {"address": {"email": "cc1@x.example", "header_to": to}},
        ],
        "content": {
            "from": "f@a.example",
            "subject": "s",
            "text": "t",
            "headers": {"CC": '"John" <cc1@x.example>, cc2@x.example'},
        },
    }
    answer = await served.client.post(request, query="?num_rcpt_errors=3", headers={"Accept-Encoding": "gzip"})
    assert answer.status == 200
    assert to_and_cc(served, "cc1@x.example") == (
        ["Jo <to@x.example>, second@x.example"],
        ["John <cc1@x.example>, cc2@x.example"],
    )


async def test_gosparkpost(served: Served) -> None:
    request = {
        "id": "123",
        "state": "submitted",
        "num_rcpts": 0,
        "recipients": [
            {"address": {"email": "to@x.example", "header_to": ""}, "return_path": "", "substitution_data": None}
        ],
        "content": {
            "from": {"name": "", "email": "f@a.example"},
            "subject": "s",
            "html": "h",
            "headers": {"cc": "c@x.example"},
        },
        "options": {"start_time": None, "sandbox": False},
        "substitution_data": None,
    }
    answer = await served.client.post(request)
    assert isinstance(answer.body["results"]["id"], str)
    assert to_and_cc(served, "to@x.example") == (None, ["c@x.example"])


async def test_anymail(served: Served) -> None:
    """Trailing slash, a From string with a comma in its name, and a To list in every header_to; bcc only: no To."""
    request: dict[str, Any] = {
        "recipients": [
            {"address": {"email": address, "header_to": "Recipient, Ünal <to@x.example>, other@y.example"}}
            for address in ("to@x.example", "other@y.example")
        ],
        "content": {
            "from": '"Test From, with comma" <f@a.example>',
            "subject": "Test sübject",
            "text": "Bödy",
            "reply_to": "reply@x.example, Other <reply2@x.example>",
            "headers": {"X-Anymail": "1", "Cc": "cc@x.example"},
            "attachments": [{"name": "", "type": 'text/plain; charset="utf-8"', "data": "aGk="}],
        },
        "metadata": {"number": 12345},
        "campaign_id": "tag",
    }
    # An unquoted comma in a name makes it a list of two: the first is no address, so the value is refused.
    answer = await served.client.request(
        "POST", "/api/v1/transmissions/", json.dumps(request).encode(), {"Content-Type": "application/json"}
    )
    assert answer.status == 400
    for recipient in request["recipients"]:
        recipient["address"]["header_to"] = '"Recipient, Ünal" <to@x.example>, other@y.example'
    answer = await served.client.request(
        "POST", "/api/v1/transmissions/", json.dumps(request).encode(), {"Content-Type": "application/json"}
    )
    assert answer.body["results"]["total_accepted_recipients"] == 2
    assert answer.body["results"]["total_rejected_recipients"] == 0
    message = email.message_from_bytes(served.acceptor.message_to("to@x.example"), policy=email.policy.default)
    assert message["To"] == '"Recipient, Ünal" <to@x.example>, other@y.example'
    assert message["From"] == '"Test From, with comma" <f@a.example>'
    assert message["Subject"] == "Test sübject"
    assert len(served.acceptor.kept) == 1


async def test_django_headers(served: Served) -> None:
    request = simple()
    request["content"]["headers"] = {"X-MSYS-API": '{"options":{"transactional":true}}', "X-Other": "y"}
    assert (await served.client.post(request)).status == 200
    message = served.acceptor.message_to("to@b.example")
    assert b"X-MSYS-API" not in message
    assert b"X-Other: y\r\n" in message


async def run(*command: str, data: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate(data)
    assert process.returncode == 0, err
    return out


async def test_curl(served: Served, tmp_path: Path) -> None:
    url = f"http://{served.server.address}/api/v1/transmissions"
    kind = ("-H", "Content-Type: application/json")
    common = ("curl", "-sS", "-m", "30", "-o", "-", "-w", "\n%{http_code}")
    out = await run(*common, "-u", f"{KEY}:", *kind, "--data-binary", "@-", url, data=json.dumps(simple()).encode())
    body, _, status = out.rpartition(b"\n")
    assert status == b"200"
    assert json.loads(body)["results"]["total_accepted_recipients"] == 1
    # Large enough that curl asks with Expect: 100-continue; sent in chunks, and packed.
    big = json.dumps(simple(content={**simple()["content"], "text": "line\n" * 500_000})).encode()
    for more, data in (
        ((), big),
        (("-H", "Transfer-Encoding: chunked"), big),
        (("-H", "Content-Encoding: gzip"), gzip.compress(big)),
    ):
        out = await run(*common, "-H", f"Authorization: {KEY}", *kind, *more, "--data-binary", "@-", url, data=data)
        assert out.endswith(b"\n200")
    assert {len(each.body.content) > 3_000_000 for each in served.acceptor.kept[1:]} == {True}
    out = await run(*common, "-X", "POST", *kind, "--data-binary", "@-", url, data=big)
    assert out.endswith(b"\n401")
    assert b"Unauthorized" in out


async def test_urllib(served: Served) -> None:
    def send(key: str) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://{served.server.address}/api/v1/transmissions",
            json.dumps(simple()).encode(),
            {"Authorization": key, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    assert (await asyncio.to_thread(send, KEY))[0] == 200
    assert await asyncio.to_thread(send, "no") == (401, {"errors": [{"message": "Unauthorized"}]})


# --- header injection: a line break in every string that reaches a header

INJECTED = "Injected: yes"


def _set(request: dict[str, Any], path: str, value: str) -> None:
    at: Any = request
    *outer, last = path.split("/")
    for step in outer:
        at = at[int(step) if isinstance(at, list) else step]
    at[last] = value


STRINGS = [
    "recipients/0/address/email",
    "recipients/0/address/name",
    "recipients/0/address/header_to",
    "recipients/0/return_path",
    "return_path",
    "content/from/email",
    "content/from/name",
    "content/subject",
    "content/reply_to",
    "content/headers/X-Custom",
    "content/headers/Cc",
    "content/headers/List-Unsubscribe",
    "content/headers/Message-ID",
    "content/attachments/0/name",
    "content/attachments/0/type",
    "content/inline_images/0/name",
    "content/inline_images/0/type",
]


def full() -> dict[str, Any]:
    file = {"name": "n", "type": "text/plain", "data": "aGk="}
    return {
        "recipients": [{"address": {"email": "to@b.example"}}],
        "content": {
            "from": {"email": "f@a.example"},
            "subject": "s",
            "text": "t",
            "html": "h",
            "headers": {},
            "attachments": [dict(file)],
            "inline_images": [dict(file)],
        },
    }


BREAKS = ["\r\n", "\n", "\r", "\r\n\r\n", "\0", "\x85", "\u2028", "\x0b", "\x0c", "\r\n ", "\n\t", "=?utf-8?q?=0D=0A?="]


@pytest.mark.parametrize("path", STRINGS)
@pytest.mark.parametrize("mark", BREAKS, ids=repr)
async def test_no_string_adds_a_header(served: Served, path: str, mark: str) -> None:
    for value in ("a{}", "a@b.example{}", "<a@b.example>{}", "{}", "text/plain{}", "text/plain; x=y{}"):
        request = full()
        _set(request, path, value.format(mark) + INJECTED)
        answer = await served.client.post(request)
        if set(mark) & set("\r\n\0"):
            assert answer.status in (400, 422)
            member = "from" if "/from/" in path else path.rpartition("/")[2]
            assert any(member in each.get("description", "") for each in answer.body["errors"])
    for transaction in served.acceptor.kept:
        check_message(bytes(transaction.body))
        assert not set(transaction.sender + transaction.recipients[0].address) & set("\r\n\0 <>")


@pytest.mark.parametrize(
    "name", ["X\r\nInjected", "X\nInjected: y\r\nX", "Injected\0", "X Injected", "X:Injected", "X\x85"]
)
async def test_no_header_name_adds_a_header(served: Served, name: str) -> None:
    request = full()
    request["content"]["headers"] = {name: "v"}
    answer = await served.client.post(request)
    assert answer.status == 422
    assert answer.body["errors"][0]["code"] == "3002"


def check_message(octets: bytes) -> None:
    """No part has a header field of that name, and all lines end in CRLF."""
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
    message: EmailMessage = email.message_from_bytes(octets, policy=email.policy.default)
    for part in message.walk():
        assert "Injected" not in part
    assert b"\nInjected" not in octets
