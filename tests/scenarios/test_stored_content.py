"""Templates, snippets, lists and A/B tests made by HTTP and used by the next request, on any engine."""

from __future__ import annotations

import email
import email.policy
import http.client
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from postroad.auth import new_key
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import Server, serving, until

CONTENT = {
    "from": {"email": "news@sender.test", "name": "News for {{name}}"},
    "subject": "Hello {{name}}",
    "headers": {"X-Id": "{{id}}"},
    "text": 'Dear {{name}}, {{ render_snippet("legal") }}',
}


class Place(NamedTuple):
    server: Server
    far: FarEnd
    key: str

    def ask(self, method: str, path: str, body: object = None, *, subaccount: int | None = None) -> tuple[int, Any]:
        """Over a connection of its own: any engine may get it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=60)
        fields = {"Authorization": self.key, "Content-Type": "application/json"}
        if subaccount is not None:
            fields["X-MSYS-SUBACCOUNT"] = str(subaccount)
        try:
            connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), fields)
            answer = connection.getresponse()
            octets = answer.read()
            return answer.status, json.loads(octets) if octets else None
        finally:
            connection.close()

    def send(self, content: object, recipients: object) -> tuple[int, Any]:
        return self.ask("POST", "/transmissions", {"content": content, "recipients": recipients})

    def message_to(self, address: str) -> Any:
        def found() -> list[bytes]:
            return [taken.content for taken in self.far.taken if taken.recipient == address]

        until(found, f"mail to {address}")
        (content,) = found()
        return email.message_from_bytes(content, policy=email.policy.default)


@pytest.fixture(params=[1, 2])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    key, digest = new_key()
    extra = f'[[http.keys]]\nlabel = "all"\nsha256 = "{digest}"\ngrants = ["admin", "transmissions"]\n'
    with FarEnd() as far, serving(tmp_path, gateway=far.port, engines=request.param, extra=extra) as server:
        found = Place(server, far, key)
        until(lambda: found.ask("GET", "/templates")[0] == 200, "the store is open")
        yield found
        assert server.stop() == 0


def one(address: str, **data: object) -> list[dict[str, object]]:
    return [{"address": {"email": address}, "substitution_data": data}]


def test_what_was_made_is_used(place: Place) -> None:
    assert place.ask("POST", "/snippets", {"id": "legal", "content": {"text": "yours, {{sign}}"}})[0] == 200
    assert place.ask("POST", "/templates", {"id": "t", "content": CONTENT})[0] == 200
    # Not published yet.
    status, answer = place.send({"template_id": "t"}, one("a@one.test", name="A"))
    assert (status, answer["errors"][0]["code"]) == (422, "2005")
    draft = {"template_id": "t", "use_draft_template": True}
    assert place.send(draft, one("draft@one.test", name="Zoë", id=7, sign="S"))[0] == 200
    message = place.message_to("draft@one.test")
    assert (message["Subject"], message["X-Id"]) == ("Hello Zoë", "7")
    assert message["From"].addresses[0].display_name == "News for Zoë"
    assert message.get_content().strip() == "Dear Zoë, yours, S"
    # What a change made counts for the very next request, whichever engine gets it.
    for number in range(8):
        edited = {**CONTENT, "subject": f"Edition {number}"}
        assert place.ask("PUT", "/templates/t", {"content": edited, "published": True})[0] == 200
        address = f"p{number}@one.test"
        assert place.send({"template_id": "t"}, one(address, name="A"))[0] == 200
        assert place.message_to(address)["Subject"] == f"Edition {number}"
    assert place.send(draft, one("a@one.test", name="A"))[1]["errors"][0]["code"] == "2004"
    assert place.ask("DELETE", "/templates/t")[0] == 200
    for _ in range(4):
        status, answer = place.send({"template_id": "t"}, one("a@one.test", name="A"))
        assert (status, answer["errors"][0]["code"]) == (422, "1603")


def test_a_stored_list(place: Place) -> None:
    people = [{"address": {"email": f"l{n}@one.test"}, "substitution_data": {"name": f"N{n}"}} for n in range(50)]
    body = {"id": "all", "recipients": [*people, {"address": "nobody"}]}
    status, answer = place.ask("POST", "/recipient-lists", body)
    assert (status, answer["results"]["total_accepted_recipients"]) == (200, 50)
    assert (
        place.ask("POST", "/templates", {"id": "t", "content": {**CONTENT, "text": "t"}, "published": True})[0] == 200
    )
    status, answer = place.send({"template_id": "t"}, {"list_id": "all"})
    assert (status, answer["results"]["total_accepted_recipients"]) == (200, 50), answer
    until(lambda: len(place.far.taken) == 50, "all have it")
    for number in (0, 49):
        assert place.message_to(f"l{number}@one.test")["Subject"] == f"Hello N{number}"
    status, answer = place.send({"template_id": "t"}, {"list_id": "other"})
    assert (status, answer["errors"][0]["code"]) == (422, "1603")


def test_an_ab_test(place: Place) -> None:
    for key in ("plain", "shout"):
        content = {"from": "news@sender.test", "subject": key, "text": "t"}
        assert place.ask("POST", "/templates", {"id": key, "content": content, "published": True})[0] == 200
    test = {
        "id": "ab",
        "name": "ab",
        "default_template": {"template_id": "plain", "percent": 50},
        "variants": [{"template_id": "shout", "percent": 50}],
        "metric": "count_unique_clicked",
        "audience_selection": "percent",
        "test_mode": "learning",
        "start_time": datetime.fromtimestamp(time.time() - 60, UTC).isoformat(),
    }
    assert place.ask("POST", "/ab-test", test)[0] == 200
    for number in range(20):
        assert place.send({"ab_test_id": "ab"}, one(f"ab{number}@one.test"))[0] == 200
    subjects = {place.message_to(f"ab{number}@one.test")["Subject"] for number in range(20)}
    assert subjects == {
        "plain",
        "shout",
    }  # that all 20 are alike by chance: 1 in 500,000, and these are always the same
    assert place.ask("POST", "/ab-test/ab/cancel")[0] == 200
    for number in range(20, 28):
        assert place.send({"ab_test_id": "ab"}, one(f"ab{number}@one.test"))[0] == 200
        assert place.message_to(f"ab{number}@one.test")["Subject"] == "plain"


def test_it_is_there_after_a_kill(place: Place) -> None:
    assert (
        place.ask("POST", "/templates", {"id": "t", "content": {**CONTENT, "text": "t"}, "published": True})[0] == 200
    )
    place.server.kill()
    place.server.start()
    assert place.send({"template_id": "t"}, one("again@one.test", name="A"))[0] == 200
    assert place.message_to("again@one.test")["Subject"] == "Hello A"


def test_what_a_transmission_still_needs_stays(place: Place) -> None:
    body = {"id": "all", "recipients": ["a@one.test", "b@one.test"]}
    assert place.ask("POST", "/recipient-lists", body)[0] == 200
    assert (
        place.ask("POST", "/templates", {"id": "t", "content": {**CONTENT, "text": "t"}, "published": True})[0] == 200
    )
    start = datetime.fromtimestamp(time.time() + 86_400, UTC).isoformat()
    mailing = {"content": {"template_id": "t"}, "recipients": {"list_id": "all"}, "options": {"start_time": start}}
    status, answer = place.ask("POST", "/transmissions", mailing)
    assert status == 200, answer
    refused = (
        ("DELETE", "/templates/t", None, "Template is in use by msg generation"),
        ("DELETE", "/recipient-lists/all", None, "List 'all' is in use by msg generation"),
        ("PUT", "/recipient-lists/all", {"recipients": ["c@one.test"]}, "List 'all' is in use by msg generation"),
    )
    for method, path, change, text in refused:
        status, told = place.ask(method, path, change)
        assert (status, told["errors"][0]["code"], told["errors"][0]["description"]) == (409, "1602", text)
    assert place.ask("PUT", "/recipient-lists/all", {"name": "New"})[0] == 200
    shown = place.ask("GET", "/recipient-lists/all?show_recipients=true")[1]["results"]
    assert [each["address"]["email"] for each in shown["recipients"]] == ["a@one.test", "b@one.test"]
    assert place.ask("DELETE", f"/transmissions/{answer['results']['id']}")[0] == 204
    for method, path, change, _ in reversed(refused):
        assert place.ask(method, path, change)[0] == 200, path
