"""Clients of the HTTP API that others wrote, from PyPI and npm, unmodified, over TLS: each of their calls is answered
as the API says (api.md 23), and their mail is at the far end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest

from tests.scenarios.foreign import Foreign, foreign

TO = "ann@one.test"
NUMBER = re.compile(r"[0-9]{10,20}\Z")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\Z")  # api.md 1.11


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Foreign]:
    with foreign(tmp_path) as found:
        yield found


def accepted(told: dict[str, Any], count: int, rejected: int = 0) -> None:
    assert NUMBER.match(told["id"])
    assert (told["total_accepted_recipients"], told["total_rejected_recipients"]) == (count, rejected)


def parts(message: EmailMessage) -> dict[str, str]:
    """Content by type."""
    return {
        part.get_content_type(): part.get_content().strip()
        for part in message.walk()
        if part.get_content_maintype() == "text" and not part.is_attachment()
    }


def files(message: EmailMessage) -> dict[str | None, bytes]:
    return {
        part.get_filename(): cast(bytes, part.get_payload(decode=True))
        for part in message.walk()
        if part.is_attachment()
    }


def raised(told: Any, status: int, *words: str) -> None:
    """words: of the errors, as the client formats them."""
    found, errors = told["raised"]
    assert found == status
    assert all(word in str(errors) for word in words), errors


def test_python_sparkpost(place: Foreign) -> None:
    told = place.python("calls_sparkpost.py", f"localhost:{place.port}", TO)
    accepted(told["transmissions.send"], 3)
    assert told["templates.create"] == {"id": "python-greeting"}
    template = told["templates.get"]
    assert (template["id"], template["name"], template["published"]) == ("python-greeting", "Greeting", True)
    assert MOMENT.match(template["last_update_time"])
    content = {"from": "sender@example.com", "subject": "Greetings {{name}}", "text": "Dear {{name}}"}
    assert template["content"] == content
    assert [each["id"] for each in told["templates.list"]] == ["python-greeting"]
    assert told["templates.preview"] == {**content, "subject": "Greetings Ann", "text": "Dear Ann"}
    assert told["templates.update"] == {}
    made = told["recipient_lists.create"]
    assert (made["id"], made["name"], made["total_accepted_recipients"]) == ("python-list", "List", 2)
    assert told["recipient_lists.update"] == {"id": "python-list", "name": "List 2"}
    shown = told["recipient_lists.get"]
    assert shown["name"] == "List 2"
    assert [each["address"]["email"] for each in shown["recipients"]] == [f"list-{TO}", f"listed-{TO}"]
    (listed,) = told["recipient_lists.list"]
    assert listed["total_accepted_recipients"] == 2 and "recipients" not in listed
    accepted(told["transmissions.send template and list"], 2)
    assert told["suppression_list.create"] == {"message": "Suppression list successfully updated"}
    assert told["suppression_list.update"] == {"message": "Suppression List successfully updated"}
    both = ["non_transactional", "transactional"]
    assert sorted(row["type"] for row in told["suppression_list.get"]) == both
    (plus,) = told["suppression_list.get plus"]
    assert (plus["recipient"], plus["type"], plus["source"]) == (f"plus+{TO}", "transactional", "Manually Added")
    assert plus["transactional"] is True and plus["description"] == "left" and MOMENT.match(plus["created"])
    for name in ("suppression_list.list", "suppression_list.list types"):
        rows = {(row["recipient"], row["type"]) for row in told[name]}
        assert rows == {
            *((f"gone-{TO}", kind) for kind in both),
            (f"left-{TO}", "non_transactional"),
            (f"plus+{TO}", "transactional"),
        }
    accepted(told["transmissions.send to one who left"], 1)
    assert told["suppression_list.delete"] is True  # 204
    later = told["transmissions.send later"]["id"]
    (waiting,) = told["transmissions.list"]
    assert (waiting["id"], waiting["campaign_id"]) == (later, "later")
    assert waiting["content"] == {"template_id": "inline"}
    assert (told["transmissions.get"]["id"], told["transmissions.get"]["state"]) == (later, "submitted")
    assert told["transmissions.delete"] is True
    assert told["recipient_lists.delete"] == told["templates.delete"] == {}
    raised(told["templates.get of none"], 404, "Code: 1600", "'python-greeting' does not exist")
    accepted(told["transmissions.send email_rfc822"], 1)
    raised(told["transmissions.send without content"], 422, "Code: 1400", "'text' or 'html' must exist in content")
    raised(told["transmissions.send to nobody"], 400, "At least one valid recipient is required Code: 5002")
    raised(told["with another key"], 401, "Unauthorized")

    mail = place.mail(TO, f"second-{TO}", f"cc-{TO}", f"list-{TO}", f"listed-{TO}", f"raw-{TO}")
    for address, to in ((TO, TO), (f"second-{TO}", f"Second <second-{TO}>"), (f"cc-{TO}", TO)):
        message = mail[address]
        assert (message["From"], message["To"], message["Cc"]) == ("Sender <sender@example.com>", to, f"cc-{TO}")
        assert (message["Subject"], message["X-Own"]) == ("Hello world", "yes")
        assert parts(message) == {"text/plain": "Hello world", "text/html": "<p>Hello world</p>"}
        assert files(message) == {"a.txt": b"hello"}
    for address, name in ((f"list-{TO}", "Bob"), (f"listed-{TO}", "Eve")):
        assert mail[address]["Subject"] == f"Greetings again {name}"
        assert parts(mail[address]) == {"text/plain": f"Dear {name}"}
    assert mail[f"raw-{TO}"]["Subject"] == "Raw mail"
    assert parts(mail[f"raw-{TO}"]) == {"text/plain": "as it is"}

    delivered = place.events("delivery")
    assert set(delivered) == set(mail)
    first = delivered[TO]
    assert (first["transmission_id"], first["campaign_id"]) == (told["transmissions.send"]["id"], "spring")
    assert first["rcpt_meta"] == {"order": 7}
    assert delivered[f"second-{TO}"]["rcpt_tags"] == ["t"] and not first.get("rcpt_tags")
    bounced = place.events("bounce")
    assert set(bounced) == {f"left-{TO}", f"later-{TO}"}
    assert {event["bounce_class"] for event in bounced.values()} == {"25"}
    assert bounced[f"left-{TO}"]["reason"].startswith("554 5.7.1 recipient address was suppressed")


def test_python_sparkpost_in_django(place: Foreign) -> None:
    told = place.python("calls_sparkpost_django.py", f"localhost:{place.port}", TO)
    assert told == {"sent": 3}
    mail = place.mail(TO, f"cc-{TO}", f"bcc-{TO}")
    for message in mail.values():
        assert (message["To"], message["Cc"]) == (f"Ann <{TO}>", f"Carl <cc-{TO}>")
        assert (message["Subject"], message["X-Own"]) == ("Hello Ann", "yes")
        assert message["Reply-To"] == "replies@example.com, others@example.com"
        assert "X-MSYS-API" not in message and "bcc-" not in str(message)
        assert parts(message) == {"text/plain": "text for Ann", "text/html": "<p>html for Ann</p>"}
        assert files(message) == {"note.txt": b"attached"}
    assert {event["campaign_id"] for event in place.events("delivery").values()} == {"django"}


def test_django_anymail(place: Foreign) -> None:
    content = {"from": "Shop <shop@example.com>", "subject": "Welcome {{name}}", "text": "Dear {{name}}"}
    template = {"id": "anymail-greeting", "content": content, "published": True}
    assert place.ask("POST", "/templates", template)[0] == 200
    told = place.python("calls_anymail.py", f"https://localhost:{place.port}/api/v1", TO)
    for name in ("plain", "batch", "bcc alone", "image", "headers", "template"):
        assert told[name]["status"] == ["queued"], told[name]
        assert NUMBER.match(told[name]["id"])
    assert "422" in told["template of none"]["raised"] and '"1603"' in told["template of none"]["raised"]
    assert "401" in told["with another key"]["raised"] and "Unauthorized" in told["with another key"]["raised"]

    plain = (TO, f"bob-{TO}", f"cc-{TO}", f"bcc-{TO}")
    more = ("a", "b", "hidden", "image", "h1", "h2", "template")
    mail = place.mail(*plain, *(f"{name}-{TO}" for name in more))
    for address in plain:
        message = mail[address]
        assert message["From"] == '"Sender, of Django" <sender@example.com>'
        assert (message["To"], message["Cc"]) == (f"Ann <{TO}>, bob-{TO}", f"cc-{TO}")
        assert (message["Reply-To"], message["X-Own"]) == ("replies@example.com", "yes")
        assert "bcc-" not in str(message)
        assert parts(message) == {"text/plain": "text body", "text/html": "<p>html body</p>"}
        assert files(message) == {"note.txt": b"attached text"}
    for name in ("a", "b"):
        message = mail[f"{name}-{TO}"]
        assert (message["To"], message["Subject"]) == (f"{name}-{TO}", f"Hello {name.upper()}")
        assert parts(message) == {"text/plain": "Order none"}
    assert "To" not in mail[f"hidden-{TO}"]
    image = mail[f"image-{TO}"]
    assert (image["X-Order"], place.senders()[f"image-{TO}"]) == ("5", "returns@example.com")
    (picture,) = (part for part in image.walk() if part.get_content_type() == "image/png")
    assert picture.get_payload(decode=True) == b"\x89PNG\r\n\x1a\n"
    assert parts(image)["text/html"] == f'<img src="cid:{str(picture["Content-ID"]).strip("<>")}">'
    assert {name: mail[f"{name}-{TO}"]["X-Some"] for name in ("h1", "h2")} == {"h1": "one", "h2": None}
    assert {mail[f"{name}-{TO}"]["X-All"] for name in ("h1", "h2")} == {"all"}
    message = mail[f"template-{TO}"]
    assert (message["From"], message["Subject"]) == ("Shop <shop@example.com>", "Welcome Carl")
    assert parts(message) == {"text/plain": "Dear Carl"}

    delivered = place.events("delivery")
    assert set(delivered) == set(mail)
    assert delivered[TO]["campaign_id"] == "spring" and delivered[TO]["rcpt_meta"] == {"order": 7}
    assert delivered[TO]["transmission_id"] == told["plain"]["id"]
    assert [delivered[f"{name}-{TO}"]["rcpt_meta"] for name in ("a", "b")] == [{"n": 1}, {"n": 2}]


def test_node_sparkpost(place: Foreign) -> None:
    told = place.node("calls_sparkpost.js", TO)
    accepted(told["transmissions.send"]["results"], 3)
    later = told["transmissions.send later"]["results"]["id"]
    assert [(each["id"], each["state"]) for each in told["transmissions.list"]["results"]] == [(later, "submitted")]
    assert told["transmissions.get"]["results"]["transmission"]["id"] == later
    assert told["templates.create"] == {"results": {"id": "node-greeting"}}
    content = {"from": "sender@example.com", "subject": "Greetings {{name}}", "text": "Dear {{name}}"}
    assert told["templates.get"]["results"]["content"] == content
    assert [each["id"] for each in told["templates.list"]["results"]] == ["node-greeting"]
    assert told["templates.update"] == {"results": {}}
    preview = told["templates.preview"]["results"]
    assert (preview["subject"], preview["text"]) == ("New Ann", "x")
    made = told["recipientLists.create"]
    assert made["errors"] == [{"message": "List created with validation errors", "code": "5000"}]
    assert [error["code"] for error in made["results"]["rcpt_to_errors"]] == ["1300"]
    assert (made["results"]["total_accepted_recipients"], made["results"]["total_rejected_recipients"]) == (1, 1)
    shown = told["recipientLists.get"]["results"]
    assert [each["address"] for each in shown["recipients"]] == [{"email": f"list-{TO}", "name": "List"}]
    assert [each["id"] for each in told["recipientLists.list"]["results"]] == ["node-list"]
    assert told["recipientLists.update"]["results"]["name"] == "List 2"
    assert told["suppressionList.upsert"] == {"results": {"message": "Suppression List successfully updated"}}
    for name in ("suppressionList.get", "suppressionList.list"):
        assert [row["recipient"] for row in told[name]["results"]] == [f"gone-{TO}"]
    assert isinstance(told["suppressionList.list"]["links"], list) and told["suppressionList.list"]["total_count"] == 1
    assert told["suppressionList.delete"] == ""  # 204
    made = told["sendingDomains.create"]["results"]
    assert (made["message"], made["domain"]) == ("Successfully Created domain.", "node.example.com")
    assert (
        made["dkim"]["signing_domain"] == "node.example.com"
        and made["dkim"]["public"]
        and "private" not in made["dkim"]
    )
    assert told["sendingDomains.get"]["results"]["status"]["ownership_verified"] is False
    assert told["sendingDomains.update"]["results"]["message"] == "Successfully Updated Domain."
    verified = told["sendingDomains.verify"]["results"]
    assert (verified["dkim_status"], verified["ownership_verified"]) == ("invalid", False)
    assert f"{made['dkim']['selector']}._domainkey.node.example.com" in verified["dns"]["dkim_error"]
    assert [each["domain"] for each in told["sendingDomains.list"]["results"]] == ["node.example.com"]
    assert told["sendingDomains.delete"] == ""  # 204
    assert "bounce" in told["webhooks.getDocumentation"]["results"]["message_event"]["events"]
    samples = told["webhooks.getSamples"]["results"]
    assert [each["msys"]["message_event"]["type"] for each in samples] == ["bounce"]
    sub = told["subaccounts.create"]["results"]
    assert (sub["label"], sub["short_key"]) == ("Node key", sub["key"][:4])
    assert told["subaccounts.get"]["results"]["id"] == sub["subaccount_id"]
    assert told["subaccounts.get"]["results"]["name"] == "Node"
    assert told["subaccounts.update"]["results"] == {"message": "Successfully updated subaccount information"}
    assert [(each["name"], each["status"]) for each in told["subaccounts.list"]["results"]] == [("Node 2", "suspended")]
    for name in ("recipientLists.delete", "templates.delete"):
        assert told[name] == '{"results":{}}'  # the client does not read answers to DELETE
    raised(told["templates.get of none"], 404, "1600", "'node-greeting' does not exist")

    mail = place.mail(TO, f"cc-{TO}", f"bcc-{TO}")
    for message in mail.values():
        (to,) = message["To"].addresses
        assert (to.addr_spec, to.display_name.strip()) == (TO, "Ann")  # the client keeps the blank before "<"
        assert (message["From"], message["Cc"]) == ("Sender <sender@example.com>", f"cc-{TO}")
        assert message["Subject"] == "Hello world" and "bcc-" not in str(message)
        assert parts(message) == {"text/plain": "Hello world", "text/html": "<p>Hello world</p>"}
    delivered = place.events("delivery")
    assert set(delivered) == set(mail)
    assert {event["campaign_id"] for event in delivered.values()} == {"spring"}
    assert {event["transmission_id"] for event in delivered.values()} == {told["transmissions.send"]["results"]["id"]}
