"""Everything a request may be refused for (api.md 1.5 to 1.7, 2.5)."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.inject.http import Failure, decode
from tests.api.harness import Client, Served, serving, simple

PACKED = base64.b64encode(b"data").decode()


def content(**changes: Any) -> dict[str, Any]:
    """The simple content with changes; None takes a member out."""
    return {"content": {**simple()["content"], **changes}}


HOURS_AHEAD = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 7200))
MINUTES_AGO = time.strftime("%Y-%m-%dT%H:%M:%S-05:00", time.gmtime(time.time() - 5 * 3600 - 60))


CASES: list[tuple[dict[str, Any], int, str, str]] = [
    # what is changed in the simple request, status, code, description
    ({"content": None}, 422, "1400", "content object or template_id required"),
    (content(**{"from": None}), 422, "1400", "content.from is a required field"),
    (content(**{"from": ""}), 422, "1400", "content.from is a required field"),
    (content(**{"from": {"name": "N"}}), 422, "1400", "content.from.email is a required field"),
    (content(subject=None), 422, "1400", "content.subject is a required field"),
    (content(text=None), 422, "1400", "At least one of 'text' or 'html' must exist in content"),
    (content(text=None, amp_html="a"), 422, "1400", "At least one of 'text' or 'html' must exist in content"),
    (content(**{"from": "nonsense"}), 422, "1300", "content.from: 'nonsense': the address has no @"),
    (content(**{"from": "a@b.example, c@d.example"}), 422, "3002", "content.from: must be one address"),
    (content(**{"from": "@a.example"}), 400, "2008", "content.from: '@a.example' has nothing before the @"),
    (content(headers={"To": "x@y.example"}), 422, "3002", "content.headers.To can not be set here"),
    (content(headers={"content-type": "a/b"}), 422, "3002", "content.headers.content-type can not be set here"),
    (content(headers={"": "x"}), 422, "3002", "content.headers. is not a header name"),
    (content(headers={"X": 5}), 422, "1300", "'content.headers.X' must be a string"),
    (content(attachments=[{"name": "a", "data": PACKED}]), 422, "1400", "content.attachments[0].type is a required"),
    (content(attachments=[{"name": "a", "type": "a/b"}]), 422, "1400", "content.attachments[0].data is a required"),
    (
        content(attachments=[{"name": "a", "type": "a/b", "data": "!"}]),
        422,
        "3010",
        "content.attachments[0].data is not base64",
    ),
    (
        content(attachments=[{"name": "a", "type": "a/b", "data": "YQ=="[:3]}]),
        422,
        "3010",
        "content.attachments[0].data is not base64",
    ),
    (
        content(attachments=[{"name": "a", "type": "a/b", "data": "é"}]),
        422,
        "3010",
        "content.attachments[0].data is not base64",
    ),
    (
        content(attachments=[{"name": "a", "type": "bad", "data": PACKED}]),
        422,
        "3002",
        "content.attachments[0].type is not a media type",
    ),
    (
        content(inline_images=[{"name": "a", "type": "a/b", "data": PACKED}] * 2),
        422,
        "3010",
        "content.inline_images[1].name is used twice",
    ),
    (content(template_id="t"), 422, "1301", "Both content object and template_id are specified"),
    ({"content": {"template_id": "t"}}, 422, "1603", "template 't' does not exist"),
    ({"content": {"ab_test_id": "t"}}, 422, "1603", "ab_test_id 't' does not exist"),
    (content(email_rfc822="From: a@b.example\n\nx"), 422, "1301", "content.email_rfc822 can not be combined with"),
    ({"content": {"email_rfc822": ""}}, 422, "3020", "content.email_rfc822 does not begin with a header field"),
    ({"content": {"email_rfc822": "no header"}}, 422, "3020", "content.email_rfc822 does not begin with a header"),
    ({"content": {"email_rfc822": "A: b\r\n\r\n\0"}}, 422, "3020", "content.email_rfc822 holds a NUL character"),
    (
        {"content": {"email_rfc822": f"From: a@b.c\n\n{'x' * 65_537}"}},
        422,
        "3020",
        "content.email_rfc822 has a line of more",
    ),
    ({"content": {"email_rfc822": "A: b\r\n\r\nx"}}, 400, "7001", "No sending domain specified"),
    ({"content": {"email_rfc822": "From: a@b.c, d@e.f\r\n\r\nx"}}, 400, "7001", "No sending domain specified"),
    ({"content": {"email_rfc822": "From: a@b.c\r\nFrom: d@e.f\r\n\r\nx"}}, 400, "7001", "No sending domain"),
    (
        {"content": {"email_rfc822": "From: a@b.c\r\n\r\n{{x"}},
        422,
        "3000",
        "Error while compiling part text/plain: line 1",
    ),
    (
        {"content": {"email_rfc822": "From: a@b.c\r\nX: {{if}}\r\n\r\nx"}},
        422,
        "3000",
        "Error while compiling header X:",
    ),
    (content(text="{{name"), 422, "3000", "Error while compiling part text: line 1: substitution statement missing"),
    (content(subject="{{name age}}"), 422, "3000", "Error while compiling header Subject: syntax error near 'age'"),
    (content(**{"from": "{{l}}@{{d"}), 422, "3000", "Error while compiling header From: "),
    (content(headers={"X-A": "{{}}"}), 422, "3000", "Error while compiling header X-A: "),
    (
        {**content(subject="{{"), "options": {"perform_substitutions": False}},
        422,
        "3000",
        "Error while compiling header Subject: ",
    ),
    ({"recipients": None}, 422, "1400", "recipients or list_id required"),
    ({"recipients": {}}, 422, "1400", "recipients or list_id required"),
    ({"recipients": []}, 400, "5002", "recipients is empty"),
    ({"recipients": {"list_id": "l"}}, 422, "1603", "recipient list 'l' does not exist"),
    ({"recipients": "a@b.example"}, 422, "1300", "'recipients' must be an array or an object"),
    ({"campaign_id": "é" * 33}, 422, "1300", "campaign_id is limited to 64 bytes"),
    ({"campaign_id": 5}, 422, "1300", "'campaign_id' must be a string"),
    ({"description": "x" * 1025}, 422, "1300", "description is limited to 1024 bytes"),
    ({"metadata": []}, 422, "1300", "'metadata' must be an object"),
    ({"metadata": {"a": "x" * 10_300}}, 422, "2007", "metadata is limited to 10240 bytes"),
    ({"substitution_data": "x"}, 422, "1300", "'substitution_data' must be an object"),
    ({"substitution_data": {"a": "x" * 103_000}}, 422, "2002", "substitution_data is limited to 102400 bytes"),
    ({"return_path": "x"}, 422, "1300", "return_path: 'x': the address has no @"),
    ({"return_path": "@b.example"}, 400, "2008", "return_path: '@b.example' has nothing before the @"),
    ({"return_path": "a@b.example\r\nRCPT TO:<c@d.example>"}, 422, "1300", "return_path: "),
    ({"options": {"open_tracking": "true"}}, 422, "1300", "'options.open_tracking' must be a boolean"),
    ({"options": {"start_time": HOURS_AHEAD}}, 422, "1300", "options.start_time may be 0 seconds ahead"),
    ({"options": {"start_time": "soon"}}, 422, "1300", "options.start_time must be YYYY-MM-DDTHH:MM:SS+-HH:MM or now"),
    ({"options": {"start_time": "2020-01-01T00:00:00"}}, 422, "1300", "options.start_time must be"),
    ({"options": {"ip_pool": "other"}}, 400, "1200", "options.ip_pool 'other' does not exist"),
    (
        {"options": {"dkim_key": "k1"}},
        400,
        "1100",
        "Invalid DKIM key ID 'k1' for sending domain 'a.example'",
    ),
    ({"tracking_domain": "t.example"}, 400, "1200", "tracking_domain 't.example' does not exist"),
    ({"override": {"from": "x@@y.example"}}, 422, "1300", "override.from: "),
]


@pytest.mark.parametrize(
    ("change", "status", "code", "description"),
    CASES,
    ids=[f"{number} {case[3][:50]}" for number, case in enumerate(CASES)],
)
async def test_refused(served: Served, change: dict[str, Any], status: int, code: str, description: str) -> None:
    answer = await served.client.post({**simple(), **change})
    told = answer.body["errors"][0]
    assert (answer.status, told["code"]) == (status, code)
    assert told["description"].startswith(description)
    assert told["message"]
    assert served.acceptor.kept == []


@pytest.mark.parametrize(
    "change",
    [
        {"options": {"start_time": MINUTES_AGO}},
        {"options": {"start_time": "0001-01-01T00:00:00+00:00"}},
        {"options": {"ip_pool": "SP_Shared", "inline_css": False, "skip_suppression": True, "initial_open": True}},
        {"override": {}},
        {"tracking_domain": ""},
        content(subject=""),
        content(text="", html="<p>"),
        content(text=""),
        content(headers={"X-Empty": ""}),
        content(**{"from": '"Test From, with comma" <f@x.example>'}),
    ],
    ids=itertools.count(),
)
async def test_accepted(served: Served, change: dict[str, Any]) -> None:
    answer = await served.client.post({**simple(), **change})
    assert answer.status == 200, answer.body


async def test_every_fault_is_told(served: Served) -> None:
    request = {
        "recipients": [],
        "campaign_id": "x" * 65,
        "options": {"ip_pool": "other"},
        "content": {"from": "x", "headers": {"To": "y@z.example"}, "attachments": [{}], "reply_to": "a\r\nb"},
    }
    answer = await served.client.post(request)
    assert answer.status == 422
    assert [each["description"].partition(" ")[0] for each in answer.body["errors"]] == [
        "campaign_id",
        "options.ip_pool",
        "recipients",
        "content.from:",
        "content.subject",
        "At",
        "content.attachments[0].type",
        "content.attachments[0].data",
        "content.reply_to",
        "content.headers.To",
    ]


async def test_every_wrong_type_is_told(served: Served) -> None:
    request = {
        "recipients": 7,
        "campaign_id": [],
        "metadata": 1,
        "options": {"open_tracking": 1, "ip_pool": {}},
        "content": {
            "from": 5,
            "subject": {},
            "html": 1,
            "attachments": [{"name": 1}, 2],
            "headers": {"A": [], "B": "b"},
        },
    }
    answer = await served.client.post(request)
    assert answer.status == 422
    assert {each["code"] for each in answer.body["errors"]} == {"1300"}
    assert sorted(each["description"] for each in answer.body["errors"]) == [
        "'campaign_id' must be a string",
        "'content.attachments[0].name' must be a string",
        "'content.attachments[1]' must be an object",
        "'content.from' must be a string or an object",
        "'content.headers.A' must be a string",
        "'content.html' must be a string",
        "'content.subject' must be a string",
        "'metadata' must be an object",
        "'options.ip_pool' must be a string",
        "'options.open_tracking' must be a boolean",
        "'recipients' must be an array or an object",
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b'"text"',
        b'{"content":}',
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b'{"campaign_id":"\\ud800"}',
        b'{"metadata":{"a":1e999}}',
        b"[" * 200_000,
        b'{"unknown":' + b"[" * 200_000,
        b'{"metadata":' + b'{"a":' * 100_000,
        b'{"recipients":[' + b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_unreadable_json(served: Served, body: bytes) -> None:
    answer = await served.client.post(body)
    assert answer.status == 400
    (told,) = answer.body["errors"]
    assert told["description"].startswith("Request body parsing failed [Attached error message: ")


async def test_not_utf8(served: Served) -> None:
    answer = await served.client.post(b'{"campaign_id":"\xe9"}')
    assert answer.status == 400
    assert answer.body["errors"] == [
        {"message": "input not UTF-8", "description": "octet 16 of the body is not UTF-8", "code": "1305"}
    ]


# Any JSON at all, biased to the names the API knows.
names = st.sampled_from(
    [
        *("recipients", "address", "email", "name", "header_to", "content", "from", "subject", "text", "html"),
        *("headers", "attachments", "type", "data", "options", "start_time", "metadata", "tags", "email_rfc822"),
        *("reply_to", "X-A"),
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars | st.sampled_from(["a@b.example", "A <a@b.example>", PACKED, "text/plain", "a\r\nb: c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=25,
)


async def test_any_json_gets_an_answer_in_shape() -> None:
    """Whatever the request holds, the reply is one of the API's, never a 500."""
    async with serving() as served:
        answers: list[tuple[dict[str, Any], int, Any]] = []

        @given(st.dictionaries(names, values, max_size=4), st.dictionaries(names, values, max_size=4))
        @settings(max_examples=300, deadline=None)
        def collect(outer: dict[str, Any], inner: dict[str, Any]) -> None:
            request = {**simple(), **content(**inner), **outer}
            # hypothesis is synchronous: the client runs in this thread, the server on the loop.
            answer = Client(served.server.address)._request(
                "POST", "/api/v1/transmissions", json.dumps(request).encode(), {"Content-Type": "application/json"}
            )
            answers.append((request, answer.status, answer.body))

        await asyncio.to_thread(collect)
        assert len(answers) >= 100
        assert {200, 422} <= {status for _, status, _ in answers}
        for request, status, body in answers:
            assert status in (200, 400, 422), (request, status, body)
            if status == 200:
                results = body["results"]
                total = results["total_accepted_recipients"] + results["total_rejected_recipients"]
                assert total == len(request["recipients"])
            else:
                assert all(each["message"] for each in body["errors"])


@given(st.binary(max_size=200))
def test_any_octets_are_decoded_or_refused(body: bytes) -> None:
    try:
        decode(body)
    except Failure as failure:
        assert failure.code.status in (400, 422)
