"""POST /transmissions: what comes back, and what is handed to the acceptor."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
from email.message import EmailMessage
from typing import Any

import pytest

from postroad.message import Reply
from tests.api.harness import Served, serving, simple


def parse(message: bytes) -> EmailMessage:
    return email.message_from_bytes(message, policy=email.policy.default)


async def test_one_recipient(served: Served) -> None:
    answer = await served.client.post(simple())
    assert answer.status == 200
    identifier = answer.body["results"].pop("id")
    assert answer.body == {"results": {"total_rejected_recipients": 0, "total_accepted_recipients": 1}}
    assert identifier.isdecimal()
    assert 17 <= len(identifier) <= 19
    (transaction,) = served.acceptor.kept
    assert transaction.sender == "from@a.example"
    assert transaction.method == "rest"
    assert not transaction.smtputf8
    assert transaction.connection == {"remote_addr": "127.0.0.1"}
    (recipient,) = transaction.recipients
    assert (recipient.address, recipient.domain) == ("to@b.example", "b.example")
    message = parse(bytes(transaction.body))
    assert message["From"] == "from@a.example"
    assert message["To"] == "to@b.example"
    assert message["Subject"] == "Hello"
    assert message.get_content() == "Hi\r\n"
    assert message["Date"].datetime
    assert message["Message-ID"].endswith("@mx.example>")


async def test_event_members(served: Served) -> None:
    request = simple(
        campaign_id="autumn",
        description="d",
        metadata={"a": 1, "b": {"c": [None, True]}},
        substitution_data={"unused": 1},
        options={"transactional": True, "click_tracking": False, "start_time": "now", "sandbox": True},
    )
    request["recipients"] = [
        "one@b.example",
        {"address": "two@b.example", "metadata": {"a": 2}, "tags": [str(n) for n in range(12)]},
        {"address": "three@b.example", "options": {"open_tracking": False, "click_tracking": True}},
    ]
    request["content"] |= {"html": "<p>", "amp_html": "<html amp>", "from": {"email": "n@a.example", "name": "N"}}
    answer = await served.client.post(request)
    identifier = answer.body["results"]["id"]
    events = {}
    for transaction in served.acceptor.kept:
        for recipient in transaction.recipients:
            events[recipient.address] = {**transaction.event, **(recipient.event or {})}
    common = {
        "transmission_id": identifier,
        "template_id": f"template_{identifier}",
        "template_version": "0",
        "campaign_id": "autumn",
        "friendly_from": "n@a.example",
        "subject": "Hello",
        "transactional": "1",
        "amp_enabled": True,
        "open_tracking": True,
        "initial_pixel": True,
        "click_tracking": False,
    }
    meta = {"a": 1, "b": {"c": [None, True]}}
    assert events == {
        "one@b.example": {**common, "rcpt_meta": meta, "rcpt_tags": []},
        "two@b.example": {**common, "rcpt_meta": {**meta, "a": 2}, "rcpt_tags": [str(n) for n in range(10)]},
        "three@b.example": {
            **common,
            "rcpt_meta": meta,
            "rcpt_tags": [],
            "open_tracking": False,
            "initial_pixel": False,
            "click_tracking": True,
        },
    }


@pytest.mark.parametrize(
    ("options", "opens", "initial"),
    [
        ({}, True, True),
        ({"open_tracking": False}, False, False),
        ({"open_tracking": False, "initial_open": True}, False, True),
        ({"initial_open": False}, True, False),
        ({"open_tracking": None, "initial_open": None}, True, True),
    ],
)
async def test_tracking_defaults(served: Served, options: dict[str, Any], opens: bool, initial: bool) -> None:
    assert (await served.client.post(simple(options=options))).status == 200
    event = served.acceptor.kept[0].event
    assert (event["open_tracking"], event["initial_pixel"]) == (opens, initial)


async def test_some_bad_recipients(served: Served) -> None:
    request = simple()
    request["recipients"] = [
        {"address": {"email": "good@b.example"}},
        {"address": {"name": "No Address"}},
        {"address": "xyz"},
        {"address": {"email": 5}},
        7,
        None,
        {},
        {"address": "a@b.example", "metadata": {"x": "y" * 11_000}},
        {"address": "a@b.example", "substitution_data": {"x": "y" * 103_000}},
        {"address": "a@b.example", "return_path": "nonsense"},
        {"address": "a@b.example", "return_path": "@b.example"},
        {"address": {"email": "a@b.example", "name": "x\r\nBcc: y@z.example"}},
    ]
    answer = await served.client.post(request)
    assert answer.status == 200
    assert answer.body["errors"] == [{"message": "transmission created, but with validation errors", "code": "2000"}]
    results = answer.body["results"]
    assert (results["total_accepted_recipients"], results["total_rejected_recipients"]) == (1, 11)
    assert [(each["code"], each["message"]) for each in results["rcpt_to_errors"]] == [
        ("1400", "required field is missing"),
        ("1300", "invalid data format/type"),
        ("1300", "invalid data format/type"),
        ("1300", "invalid data format/type"),
        ("1300", "invalid data format/type"),
        ("1400", "required field is missing"),
        ("2007", "metadata too large"),
        ("2002", "substitution data too large"),
        ("1300", "invalid data format/type"),
        ("2008", "no local part in sender address"),
        ("3002", "invalid header"),
    ]
    descriptions = [each["description"] for each in results["rcpt_to_errors"]]
    assert descriptions[0] == "address.email is required for each recipient"
    assert descriptions[1].startswith("invalid recipient address.email: xyz")
    assert descriptions[2] == "'recipients[3].address.email' must be a string"
    assert served.acceptor.recipients == ["good@b.example"]


@pytest.mark.parametrize(("asked", "shown"), [("0", 0), ("2", 2), ("99", 3)])
async def test_num_rcpt_errors_limits_the_list_only(served: Served, asked: str, shown: int) -> None:
    request = simple(recipients=["a", "b", "c", "ok@b.example"])
    answer = await served.client.post(request, query=f"?num_rcpt_errors={asked}&unknown=1")
    results = answer.body["results"]
    assert len(results["rcpt_to_errors"]) == shown
    assert (results["total_accepted_recipients"], results["total_rejected_recipients"]) == (1, 3)


async def test_no_good_recipient(served: Served) -> None:
    answer = await served.client.post(simple(recipients=["a", {"address": {"email": ""}}]))
    assert answer.status == 400
    assert answer.body["errors"][0] == {"message": "At least one valid recipient is required", "code": "5002"}
    assert [each["code"] for each in answer.body["errors"]] == ["5002", "1300", "1400"]
    assert served.acceptor.kept == []


async def test_the_same_address_twice_is_two_messages(served: Served) -> None:
    answer = await served.client.post(simple(recipients=["a@b.example", "a@b.example"]))
    assert answer.body["results"]["total_accepted_recipients"] == 2
    assert served.acceptor.recipients == ["a@b.example", "a@b.example"]


async def test_return_paths(served: Served) -> None:
    request = simple(return_path="bounce@a.example")
    request["recipients"] = ["one@b.example", {"address": "two@b.example", "return_path": "own@a.example"}]
    await served.client.post(request)
    assert {(each.sender, each.recipients[0].address) for each in served.acceptor.kept} == {
        ("bounce@a.example", "one@b.example"),
        ("own@a.example", "two@b.example"),
    }


async def test_equal_copies_share_one_body(served: Served) -> None:
    request = simple()
    visible = "to@b.example, other@b.example"
    request["recipients"] = [
        {"address": {"email": f"user{number}@b.example", "header_to": visible}} for number in range(250)
    ]
    await served.client.post(request)
    assert len(served.acceptor.kept) == 3
    assert len({id(transaction.body) for transaction in served.acceptor.kept}) == 1
    assert served.acceptor.recipients == [f"user{number}@b.example" for number in range(250)]


async def test_every_recipient_sees_its_own_to(served: Served) -> None:
    request = simple(recipients=[{"address": {"email": f"u{n}@b.example", "name": f"U {n}"}} for n in range(60)])
    answer = await served.client.post(request)
    assert answer.body["results"]["total_accepted_recipients"] == 60
    identifiers = set()
    for number in range(60):
        message = parse(served.acceptor.message_to(f"u{number}@b.example"))
        assert message["To"] == f"U {number} <u{number}@b.example>"
        identifiers.add(message["Message-ID"])
    assert len(identifiers) == 60


async def test_international_addresses(served: Served) -> None:
    request = simple(recipients=["jürgen@bücher.example", "plain@b.example"])
    await served.client.post(request)
    found = {each.recipients[0].address: each for each in served.acceptor.kept}
    assert found["jürgen@bücher.example"].smtputf8
    assert found["jürgen@bücher.example"].recipients[0].domain == "xn--bcher-kva.example"
    assert not found["plain@b.example"].smtputf8


async def test_files(served: Served) -> None:
    request = simple()
    data = bytes(range(256)) * 4
    packed = base64.b64encode(data).decode()
    request["content"] |= {
        "html": '<img src="cid:logo">',
        "attachments": [
            {"name": "größe.bin", "type": 'application/octet-stream; x="y"', "data": packed},
            {"name": "", "type": "text/plain; charset=utf-8", "data": base64.encodebytes(data).decode()},
            {"type": "text/plain", "data": ""},
        ],
        "inline_images": [{"name": "logo", "type": "image/png", "data": packed}],
    }
    assert (await served.client.post(request)).status == 200
    parts = [part for part in parse(served.acceptor.message_to("to@b.example")).walk() if not part.is_multipart()]
    assert [part.get_payload(decode=True) for part in parts[2:]] == [data, data, data, b""]
    assert [part.get_filename() for part in parts[2:]] == ["logo", "größe.bin", None, None]


async def test_null_is_absent_and_unknown_is_ignored(served: Served) -> None:
    nothing: Any = None
    request = {
        "recipients": [{"address": {"email": "to@b.example", "name": None, "header_to": None}, "tags": None, "x": 1}],
        "content": {
            "from": {"email": "from@a.example", "name": None},
            "subject": "s",
            "text": "t",
            "html": None,
            "reply_to": None,
            "headers": {"X-None": None, "X-One": "1"},
            "attachments": None,
            "template_id": None,
            "email_rfc822": None,
            "unknown": [[]],
        },
        "options": None,
        "campaign_id": None,
        "metadata": None,
        "return_path": None,
        "cc": ["stray"],
        "name": "old",
        "unknown": nothing,
    }
    assert (await served.client.post(request)).status == 200
    message = parse(served.acceptor.message_to("to@b.example"))
    assert message["X-One"] == "1"
    assert "X-None" not in message


RAW = "From: Sender <from@a.example>\r\nTo: someone@c.example\r\nSubject: =?utf-8?q?=C3=A9?=\r\n\r\n.\r\nGrüße\r\n"


async def test_rfc822(served: Served) -> None:
    request = simple(content={"email_rfc822": RAW, "amp_html": "left over"})
    request["recipients"] = ["one@b.example", {"address": {"email": "two@b.example", "name": "{{x}}"}}]
    assert (await served.client.post(request)).body["results"]["total_accepted_recipients"] == 2
    (transaction,) = served.acceptor.kept
    assert transaction.body.content == RAW.encode()
    assert transaction.body.dotted
    added = parse(transaction.body.trace + b"\r\n")
    assert sorted(added) == ["Date", "Message-ID"]
    assert transaction.event["subject"] == "é"
    assert transaction.event["friendly_from"] == "from@a.example"


async def test_rfc822_with_its_own_date_and_id_is_untouched(served: Served) -> None:
    raw = "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nmessage-id: <own@a.example>\r\n" + RAW
    await served.client.post(simple(content={"email_rfc822": raw}))
    assert bytes(served.acceptor.kept[0].body) == raw.encode()


@pytest.mark.parametrize("raw", [RAW.replace("\r\n", "\n"), RAW.replace("\r\n", "\r"), RAW[:-2]])
async def test_rfc822_line_ends(served: Served, raw: str) -> None:
    await served.client.post(simple(content={"email_rfc822": raw}))
    assert served.acceptor.kept[0].body.content == RAW.encode()


async def test_braces_pass_where_substitution_is_off(served: Served) -> None:
    off = {"perform_substitutions": False}
    request = simple(options=off)
    request["content"] |= {"text": "{{ raw }}", "html": "{{{x}}}"}
    assert (await served.client.post(request)).status == 200
    assert b"{{ raw }}" in served.acceptor.message_to("to@b.example")
    assert (await served.client.post(simple(options=off, content={"email_rfc822": RAW + "{{x}}\r\n"}))).status == 200


async def test_acceptor_without_room(served: Served) -> None:
    served.acceptor.not_now = Reply(452, "4.3.1 the disk is full")
    answer = await served.client.post(simple())
    assert answer.status == 503
    assert answer.body == {
        "errors": [
            {
                "message": "message generation unavailable",
                "description": "452 4.3.1 the disk is full",
                "code": "1900",
            }
        ]
    }
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [(Reply(452, "4.3.1 later"), 503, "1900"), (Reply(550, "5.7.1 no"), 400, "1902")],
)
async def test_acceptor_refuses_all(served: Served, reply: Reply, status: int, code: str) -> None:
    served.acceptor.refuse = lambda _: reply
    answer = await served.client.post(simple(recipients=["a@b.example", "b@b.example"]))
    assert answer.status == status
    assert [(each["code"], each["description"]) for each in answer.body["errors"]] == [(code, str(reply))]


@pytest.mark.parametrize(("reply", "code"), [(Reply(452, "4.3.1 full"), "1502"), (Reply(550, "5.7.1 no"), "1902")])
async def test_acceptor_refuses_some(served: Served, reply: Reply, code: str) -> None:
    served.acceptor.refuse = lambda each: reply if each.recipients[0].address.startswith("b") else None
    answer = await served.client.post(simple(recipients=["a@x.example", "b@x.example", "bad", "b2@x.example"]))
    assert answer.status == 200
    results = answer.body["results"]
    assert (results["total_accepted_recipients"], results["total_rejected_recipients"]) == (1, 3)
    assert [each["code"] for each in results["rcpt_to_errors"]] == ["1300", code, code]
    assert results["rcpt_to_errors"][1]["description"] == f"recipient b@x.example: {reply}"
    assert served.acceptor.recipients == ["a@x.example"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_many_recipients(served: Served, at_once: bool) -> None:
    served.acceptor.at_once = at_once
    wanted = [f"user{number}@d{number % 7}.example" for number in range(2500)]
    answer = await served.client.post(simple(recipients=wanted))
    assert answer.body["results"]["total_accepted_recipients"] == 2500
    assert served.acceptor.recipients == wanted
    assert served.acceptor.most_pending <= 64


async def test_the_reply_waits_for_every_commit() -> None:
    async with serving() as served:
        served.acceptor.gate = asyncio.Event()
        request = asyncio.create_task(served.client.post(simple(recipients=["a@b.example", "b@b.example"])))
        while served.acceptor.pending < 2:
            await served.client.request("GET", "/health")
        # Others are served meanwhile, and nothing was promised yet.
        assert not request.done()
        assert served.acceptor.kept == []
        served.acceptor.gate.set()
        assert (await request).status == 200
        assert served.acceptor.recipients == ["a@b.example", "b@b.example"]
