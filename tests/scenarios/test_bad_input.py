"""Bad input over every route of the API that takes a body: wrong types, nulls, CR and LF, too large, too deep. Each is
refused in clear words, with a status of 4xx, or taken for what it is; and what was refused left nothing."""

from __future__ import annotations

import copy
import gzip
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenarios.foreign import Foreign, foreign
from tests.scenarios.server import until
from tests.scenarios.test_isolation import BODIES, CONTENT, MINE, TOMORROW

EVIL = "a\r\nBcc: evil@one.test\r\n\r\nevil"
WRONG: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        1.5,
        10**30,
        "",
        "x",
        [],
        {},
        [None],
        {"x": None},
        [[[]]],
        EVIL,
        "\x00",
        "\u202e",
        "{{",
        "x" * 2000,
    ),
    *("аpple@xn--80ak6aa92e.com", "a@ex\u00e4mple.test", "a@b@c", "{{#if}}", "{{ loop_var }}" * 50, {"a": {"b": [1]}}),
)
RICH = {
    "campaign_id": "spring",
    "description": "d",
    "return_path": "bounces@sender.test",
    "metadata": {"order": "7", "more": {"x": 1}},
    "substitution_data": {"name": "Ann", "list": ["a"]},
    "options": {"open_tracking": False, "click_tracking": False, "transactional": True, "inline_css": False},
    "override": {"reply_to": "replies@sender.test", "list_id": "<list.sender.test>"},
    "recipients": [
        {
            "address": {"email": f"{MINE}@one.test", "name": "Ann", "header_to": "all@one.test"},
            "tags": ["t"],
            "metadata": {"place": "Bedrock"},
            "substitution_data": {"name": "Ann"},
            "return_path": "bounces@sender.test",
        }
    ],
    "content": {
        "from": {"email": "news@sender.test", "name": "News"},
        "subject": "Hello {{name}}",
        "reply_to": "replies@sender.test",
        "headers": {"X-Own": "{{name}}", "Cc": "cc@one.test"},
        "text": "Hello {{name}}",
        "html": "<p>Hello {{name}}</p>",
        "amp_html": "<html amp4email></html>",
        "attachments": [{"name": "a.txt", "type": "text/plain", "data": "aGVsbG8="}],
        "inline_images": [{"name": "dot", "type": "image/png", "data": "aGVsbG8="}],
    },
}
RAW = {"recipients": [f"{MINE}@one.test"], "content": {"email_rfc822": f"From: a@sender.test\r\nTo: {MINE}\r\n\r\nx"}}
REPLACED: dict[str, list[Any]] = {
    "POST /api/v1/transmissions": [
        RICH,
        RAW,
        {"recipients": [f"{MINE}@one.test"], "content": CONTENT, "options": {"start_time": TOMORROW}},
    ],
    "POST /api/v1/templates": [
        {
            "id": MINE,
            "name": "n",
            "description": "d",
            "published": True,
            "shared_with_subaccounts": False,
            "options": {"open_tracking": True},
            "content": RICH["content"],
        }
    ],
    "POST /api/v1/recipient-lists": [
        {"id": MINE, "name": "n", "description": "d", "attributes": {"a": 1}, "recipients": RICH["recipients"]}
    ],
}
# Those of the subaccounts' own keys are tried elsewhere; terminating one would be the end of it.
LEFT_OUT = {"PUT /api/v1/subaccounts/{id}"}
FILES = "POST /api/v1/suppression-list/import"  # takes lines of JSON, or CSV: no JSON document
FREE = ("headers", "metadata", "substitution_data", "attributes", "more")  # names in these are the client's
LISTS = ("templates", "snippets", "recipient-lists", "ab-test", "ab-test/draft", "suppression-list", "sending-domains")


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of each value within, the whole not among them."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from places(each, (*at, key))


def changed(body: Any, at: tuple[Any, ...], value: Any) -> Any:
    found = copy.deepcopy(body)
    within = found
    for key in at[:-1]:
        within = within[key]
    within[at[-1]] = value
    return found


class Client:
    """Keeps its connection."""

    def __init__(self, place: Foreign) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", place.server.http_port, timeout=100)
        self._key = place.key

    def __call__(self, method: str, path: str, octets: bytes | None = None, **more: str) -> tuple[int, Any]:
        fields = {"Authorization": self._key, "Content-Type": "application/json"}
        fields |= {name.replace("_", "-"): value for name, value in more.items()}
        self._connection.request(method, path, octets, fields)
        answer = self._connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw and answer.getheader("content-type") == "application/json" else raw

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    with foreign(tmp_path_factory.mktemp("bad")) as found:
        for path, body in (
            ("/templates", {"id": "there", "content": CONTENT, "published": True}),
            ("/snippets", {"id": "there", "content": {"text": "t"}}),
            ("/recipient-lists", {"id": "there", "recipients": ["a@one.test"]}),
            ("/sending-domains", {"domain": "there.test", "dkim_key_length": 1024}),
        ):
            status, answer = found.ask("POST", path, body)
            assert status == 200, answer
        yield found


@pytest.fixture
def client(place: Foreign) -> Iterator[Client]:
    found = Client(place)
    yield found
    found.close()


def target(operation: str) -> tuple[str, str]:
    method, _, path = operation.partition(" ")
    path = path.replace("{id}", "there").replace("{domain}", "there.test").replace("{recipient}", "there@one.test")
    return method, path


def with_bodies() -> dict[str, list[Any]]:
    return {key: bodies for key, bodies in (BODIES | REPLACED).items() if key not in (*LEFT_OUT, FILES)}


def told(operation: str, status: int, answer: Any, sent: object) -> None:
    """A refusal says what is wrong."""
    assert 200 <= status < 500, (operation, status, answer, str(sent)[:500])
    if status >= 400:
        assert answer["errors"] and all(each["message"] for each in answer["errors"]), (operation, answer)
        assert "Traceback" not in str(answer)


def test_every_value_may_be_wrong(place: Foreign, client: Client) -> None:
    refused: set[str] = set()
    number = 0
    for operation, bodies in with_bodies().items():
        method, path = target(operation)
        shown = "{" in operation and not operation.endswith(("preview", "verify", "cancel", "schedule"))
        for body in bodies:
            for at in places(body):
                for value in WRONG:
                    number += 1
                    name = f"m{number}x"
                    sent = json.dumps(changed(body, at, value)).replace(MINE, name)
                    before = client("GET", path) if shown else None
                    status, answer = client(method, path, sent.encode())
                    told(operation, status, answer, sent)
                    if status >= 400:
                        refused.add(name)
                        if shown:
                            assert client("GET", path) == before, (operation, sent[:500])
                    elif "\r" in str(value):
                        _read_again(client, path)
    assert number > 2000 and refused
    for noun in LISTS:
        status, listed = client("GET", f"/api/v1/{noun}")
        assert status == 200
        left = {name for name in refused if f'"{name}"' in json.dumps(listed) or f'"{name}@' in json.dumps(listed)}
        assert not left, (noun, sorted(left)[:5])
    until(place.server.quiet, "all is delivered or failed")
    for each in place.far.arrived():
        head = each.content.partition(b"\r\n\r\n")[0].lower()
        assert b"\nbcc:" not in head and b"\revil" not in head
        assert "evil@one.test" not in each.recipients
        assert not {to.partition("@")[0] for to in each.recipients} & refused


def _read_again(client: Client, path: str) -> None:
    """What was taken can be shown."""
    status, answer = client("GET", path)
    assert status in (200, 404, 405), (path, answer)


@pytest.mark.parametrize("operation", sorted(with_bodies()))
def test_members_that_nobody_knows_change_nothing(client: Client, operation: str) -> None:
    """api.md 1.1: ignored, never an error."""
    method, path = target(operation)
    for number, body in enumerate(with_bodies()[operation]):
        name = f"{re.sub('[^a-z]', '', operation)}-{number}"
        inner = [at for at in places(body) if isinstance(_at(body, at), dict) and at[-1] not in FREE]
        plain = client(method, path, json.dumps(body).replace(MINE, name).encode())
        for place, at in enumerate(((), *inner)):
            sent = changed(body, (*at, "unknown_member"), {"x": EVIL})
            status, answer = client(method, path, json.dumps(sent).replace(MINE, f"{name}-{place}").encode())
            assert status == plain[0], (at, answer)


def _at(body: Any, at: tuple[Any, ...]) -> Any:
    for key in at:
        body = body[key]
    return body


@pytest.mark.parametrize("operation", sorted(with_bodies()))
def test_what_is_no_body(client: Client, operation: str) -> None:
    method, path = target(operation)
    deep = b"[" * 100_000
    for octets in (
        *(
            b"{",
            b"nonsense",
            b"5",
            b'"x"',
            b"[5]",
            b"\xff\xfe",
            b'{"a": "\xff"}',
            b'{"a": NaN}',
            b'{"id": "\\ud800"}',
            deep,
        ),
        b'{"content":' * 5000 + b"1" + b"}" * 5000,
        b'{"x":' + deep + b"}",
        b'{"metadata":' + b'{"a":' * 2000 + b"1" + b"}" * 2001,
    ):
        status, answer = client(method, path, octets)
        assert 400 <= status < 500, (octets[:50], status, answer)
        told(operation, status, answer, octets[:50])
    status, answer = client(method, path, b"<a/>", Content_Type="text/xml")
    assert status == 415 and answer["errors"][0]["code"] == "1700", answer
    status, answer = client(method, path, b"{}", Content_Encoding="br")
    assert status == 415, answer
    status, answer = client(method, path, b"no gzip", Content_Encoding="gzip")
    assert status == 400, answer


def test_more_than_is_taken(client: Client) -> None:
    packed = gzip.compress(b'{"name":"' + b"x" * (400 << 20) + b'"}', 1)
    for operation in ("POST /api/v1/templates", "PUT /api/v1/templates/{id}", "POST /api/v1/transmissions"):
        status, answer = client(*target(operation), packed, Content_Encoding="gzip")
        assert status == 413, (operation, answer)
