"""gosparkpost's requests, octet by octet as recorded (api.md 23.3), over TLS; and what its decoder needs of answers:
JSON types that fit its structs, and an application/json wherever there is a body."""

from __future__ import annotations

import gzip
import http.client
import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.foreign import Foreign, foreign

TO = "ann@one.test"
NEVER = "0001-01-01T00:00:00Z"  # what Go writes for a time that is not set


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Foreign]:
    with foreign(tmp_path) as found:
        yield found


class Go:
    """Its HTTP client: raw key, no Content-Type without a payload, gzip taken, connections kept."""

    def __init__(self, place: Foreign) -> None:
        self._connection = http.client.HTTPSConnection("localhost", place.port, timeout=60, context=place.tls)
        self._key = place.key

    def __call__(self, method: str, path: str, body: object = None, **fields: str) -> tuple[int, Any]:
        octets = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        connection = self._connection
        connection.putrequest(method, f"/api/v1{path}", skip_accept_encoding=True)
        connection.putheader("User-Agent", "GoSparkPost v0.1")
        connection.putheader("Authorization", self._key)
        if body is not None:
            connection.putheader("Content-Length", str(len(octets)))
            connection.putheader("Content-Type", "application/json")
        for name, value in fields.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.putheader("Accept-Encoding", "gzip")
        connection.endheaders(octets or None)
        answer = connection.getresponse()
        raw = answer.read()
        if answer.getheader("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        if not raw:
            return answer.status, None
        assert str(answer.getheader("Content-Type")).startswith("application/json")
        return answer.status, json.loads(raw)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def go(place: Foreign) -> Iterator[Go]:
    found = Go(place)
    yield found
    found.close()


def is_time(text: str) -> bool:
    """RFC 3339, which Go's decoder insists on."""
    return datetime.fromisoformat(text).utcoffset() is not None


def test_transmissions(place: Foreign, go: Go) -> None:
    copy = {"email": f"cc-{TO}", "header_to": f"{TO}"}
    sent = {
        "options": {"open_tracking": False, "click_tracking": False, "transactional": True},
        "recipients": [
            {"address": {"email": TO, "name": "", "header_to": ""}, "tags": ["go"], "metadata": {"place": "Bedrock"}},
            {"address": f"plain-{TO}"},
            {"address": copy},
            {"address": {**copy, "email": f"bcc-{TO}"}},
        ],
        "campaign_id": "go",
        "content": {
            "html": "<p>Hello {{place}}</p>",
            "text": "Hello {{place}}",
            "subject": "from go",
            "from": {"email": "sparks@example.com", "name": "Sparks"},
            "headers": {"cc": f"cc-{TO}"},
            "attachments": [{"type": "text/plain", "name": "a.txt", "data": "aGVsbG8="}],
        },
        "id": "",
        "state": "",
        "num_rcpts": 0,
        "substitution_data": {"place": "Bedrock"},
    }
    status, answer = go("POST", "/transmissions", sent)
    assert status == 200, answer
    results = answer["results"]
    assert isinstance(results["id"], str) and results["id"].isdecimal()
    assert (results["total_accepted_recipients"], results["total_rejected_recipients"]) == (4, 0)

    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400))
    planned = {**sent, "options": {"start_time": start, "sandbox": False}, "campaign_id": "planned"}
    later = go("POST", "/transmissions", planned)[1]["results"]["id"]
    status, answer = go("GET", f"/transmissions/{later}")
    one = answer["results"]["transmission"]
    assert status == 200 and one["id"] == later and one["state"] == "submitted"
    assert all(isinstance(one["options"].get(name, False), bool) for name in ("open_tracking", "click_tracking"))
    assert isinstance(one["metadata"], dict) and one["num_rcpts"] == 4
    assert go("GET", "/transmissions?campaign_id=planned&template_id=inline")[1]["results"][0]["id"] == later
    assert later in [each["id"] for each in go("GET", "/transmissions?")[1]["results"]]
    assert go("DELETE", f"/transmissions/{later}") == (204, None)
    status, answer = go("GET", "/transmissions/777")
    assert (status, answer["errors"][0]["code"]) == (404, "1600")
    assert answer["errors"][0]["description"] == "Resource not found:transmission id 777"

    mail = place.mail(TO, f"plain-{TO}", f"cc-{TO}", f"bcc-{TO}")
    for address, message in mail.items():
        assert message["From"] == "Sparks <sparks@example.com>"
        assert message["Subject"] == "from go" and message["Cc"] == f"cc-{TO}" and "bcc-" not in str(message)
        assert message["To"] == (f"plain-{TO}" if address.startswith("plain") else None if address == TO else TO)
        body = message.get_body(("plain",))
        assert body is not None and body.get_content().strip() == "Hello Bedrock"
    delivered = place.events("delivery")
    assert {event["transmission_id"] for event in delivered.values()} == {results["id"]}
    assert delivered[TO]["rcpt_meta"] == {"place": "Bedrock"} and delivered[TO]["rcpt_tags"] == ["go"]


def test_templates(place: Foreign, go: Go) -> None:
    template: dict[str, Any] = {
        "id": "go",
        "content": {"text": "Hi {{name}}", "subject": "s {{name}}", "from": {"email": "a@example.com", "name": "A"}},
        "name": "Go",
        "last_use": NEVER,
        "last_update_time": NEVER,
        "options": {},
    }
    assert go("POST", "/templates", template) == (200, {"results": {"id": "go"}})
    status, answer = go("POST", "/templates", template)
    assert (status, answer["errors"][0]["code"]) == (400, "3030")
    shown = go("GET", "/templates/go?draft=true")[1]["results"]
    assert shown["content"]["from"] == {"email": "a@example.com", "name": "A"}
    assert is_time(shown["last_update_time"]) and "last_use" not in shown
    assert go("GET", "/templates/go?draft=false")[0] == 404
    assert go("PUT", "/templates/go", {"published": True})[0] == 200  # TemplatePublish
    assert go("GET", "/templates/go?draft=false")[1]["results"]["published"] is True
    template["content"]["subject"] = "new {{name}}"
    for update_published in ("true", "false"):
        status, answer = go("PUT", f"/templates/go?update_published={update_published}", template)
        assert (status, isinstance(answer, dict)) == (200, True), answer
    preview = go("POST", "/templates/go/preview", {"substitution_data": {"name": "Ann"}})[1]["results"]
    assert (preview["subject"], preview["text"]) == ("new Ann", "Hi Ann")
    assert go("POST", "/templates/go/preview", {"substitution_data": None})[0] == 200
    sent = {"recipients": [{"address": TO, "substitution_data": {"name": "Ann"}}], "content": {"template_id": "go"}}
    assert go("POST", "/transmissions", sent)[0] == 200
    assert place.mail(TO)[TO]["Subject"] == "new Ann"
    (listed,) = go("GET", "/templates")[1]["results"]
    assert listed["id"] == "go" and all(
        is_time(listed[name]) for name in ("last_use", "last_update_time") if name in listed
    )
    assert go("DELETE", "/templates/go")[0] == 200
    status, answer = go("DELETE", "/templates/go")
    assert (status, answer["errors"][0]["code"]) == (404, "1600")


def test_lists_and_suppressions(go: Go) -> None:
    people = [{"address": {"email": f"l{n}@one.test", "name": "", "header_to": ""}} for n in range(3)]
    status, answer = go("POST", "/recipient-lists", {"id": "go", "name": "Go", "recipients": people, "attributes": {}})
    assert (status, answer["results"]["id"], answer["results"]["total_accepted_recipients"]) == (200, "go", 3)
    (listed,) = go("GET", "/recipient-lists")[1]["results"]
    assert listed["total_accepted_recipients"] == 3 and isinstance(listed["attributes"], dict)

    rows = [{"recipient": f"s+{n}@one.test", "type": "non_transactional", "description": "d"} for n in range(2)]
    status, answer = go("PUT", "/suppression-list", {"recipients": rows})
    assert (status, answer) == (200, {"results": {"message": "Suppression List successfully updated"}})
    for query in ("", "?limit=10", "?types=non_transactional&domain=one.test"):
        status, answer = go("GET", f"/suppression-list{query}")
        assert status == 200 and isinstance(answer["links"], list) and answer["total_count"] == 2
        assert all(isinstance(row["recipient"], str) and is_time(row["created"]) for row in answer["results"])
    assert [row["recipient"] for row in go("GET", "/suppression-list/s+0@one.test")[1]["results"]] == ["s+0@one.test"]
    assert go("DELETE", "/suppression-list/s+0@one.test") == (204, None)
    for method in ("GET", "DELETE"):
        status, answer = go(method, "/suppression-list/s+0@one.test")
        assert (status, answer["errors"][0]["message"]) == (404, "Recipient could not be found")


def test_subaccounts(place: Foreign, go: Go) -> None:
    grants = ["smtp/inject", "sending_domains/manage", "tracking_domains/view", "tracking_domains/manage"]
    grants += ["message_events/view", "suppression_lists/manage", "transmissions/view", "transmissions/modify"]
    new = {"name": "Joe's Garage", "key_label": "Sparkpost API key", "key_grants": grants}
    status, answer = go("POST", "/subaccounts", new)
    made = answer["results"]
    assert status == 200 and isinstance(made["subaccount_id"], int)
    assert all(isinstance(made[name], str) for name in ("key", "label", "short_key"))
    number = made["subaccount_id"]
    whole = {**new, "id": number, "name": "Joe", "key": made["key"], "short_key": made["short_key"], "status": "active"}
    assert go("PUT", f"/subaccounts/{number}", whole)[0] == 200
    shown = go("GET", f"/subaccounts/{number}")[1]["results"]
    assert (shown["id"], shown["name"], shown["status"]) == (number, "Joe", "active")
    assert [each["id"] for each in go("GET", "/subaccounts")[1]["results"]] == [number]
    # Rows of a subaccount carry its number as text, which its decoder insists on.
    row = {"recipients": [{"recipient": "x@one.test", "type": "transactional", "description": ""}]}
    assert go("PUT", "/suppression-list", row, X_MSYS_SUBACCOUNT=str(number))[0] == 200
    (found,) = go("GET", "/suppression-list", X_MSYS_SUBACCOUNT=str(number))[1]["results"]
    assert found["subaccount_id"] == str(number)
    # Its key sends at once.
    sent = {"recipients": [{"address": TO}], "content": {"from": "a@example.com", "subject": "s", "text": "t"}}
    own = Go(place._replace(key=made["key"]))
    try:
        assert own("POST", "/transmissions", sent)[0] == 200
        assert own("GET", "/templates")[0] == 403
    finally:
        own.close()
    assert place.mail(TO)[TO]["Subject"] == "s"
    assert place.events("delivery")[TO]["subaccount_id"] == str(number)


def test_a_key_that_is_unknown(place: Foreign) -> None:
    wrong = Go(place._replace(key="0" * 40))
    try:
        status, answer = wrong("GET", "/templates")
        assert (status, answer) == (401, {"errors": [{"message": "Unauthorized"}]})
    finally:
        wrong.close()
