"""Two subaccounts can not see or touch each other's anything: every route of the OpenAPI document, on a live server.

Subaccount A makes one of everything, with an identifier that nobody else has. Then B asks every route for it: the
answer must be the very one for an identifier that nobody has, and what A sees must be the same as before. A route that
is new fails here until it has its case below."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from postroad.api.resources.subaccounts import GRANTS
from tests.scenarios.foreign import Foreign, foreign
from tests.scenarios.server import until

SECRET = "alpha-secret"  # of A
ABSENT = "omega-nobody"
MINE = "ID"  # in the bodies below, for either
CONTENT = {"from": "news@sender.test", "subject": "s", "text": "t"}
TOMORROW = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 86_400))
AB_TEST = {
    "id": MINE,
    "name": MINE,
    "default_template": {"template_id": MINE, "percent": 50},
    "variants": [{"template_id": MINE, "percent": 50}],
    "metric": "count_unique_clicked",
    "audience_selection": "percent",
    "test_mode": "learning",
    "start_time": TOMORROW,
}
PLAIN = {"recipients": ["a@one.test"], "content": CONTENT}
LATER = {**PLAIN, "campaign_id": MINE, "options": {"start_time": TOMORROW}}
ROW = {"recipient": f"{MINE}@one.test", "type": "transactional", "description": "d"}

# What is sent where: of each route that takes a body, at least one. Those that name something name it by MINE.
BODIES: dict[str, list[Any]] = {
    "POST /api/v1/templates": [{"id": MINE, "content": CONTENT, "published": True}],
    "PUT /api/v1/templates/{id}": [{"name": "theirs", "content": {**CONTENT, "subject": "theirs"}}],
    "POST /api/v1/templates/{id}/preview": [{"substitution_data": {}}],
    "POST /api/v1/utils/content-previewer": [
        {"content": {**CONTENT, "text": f"{{{{ render_snippet('{MINE}') }}}}"}, "substitution_data": {}}
    ],
    "POST /api/v1/snippets": [{"id": MINE, "content": {"text": MINE}}],
    "PUT /api/v1/snippets/{id}": [{"content": {"text": "theirs"}}],
    "POST /api/v1/recipient-lists": [{"id": MINE, "recipients": [f"{MINE}@one.test"]}],
    "PUT /api/v1/recipient-lists/{id}": [{"name": "theirs", "recipients": ["b@one.test"]}],
    "POST /api/v1/ab-test": [AB_TEST],
    "PUT /api/v1/ab-test/{id}": [{**AB_TEST, "name": "theirs"}],
    "POST /api/v1/ab-test/draft": [{**AB_TEST, "id": f"{MINE}-draft"}],
    "PUT /api/v1/ab-test/draft/{id}": [{"name": "theirs"}],
    "POST /api/v1/ab-test/draft/{id}/schedule": [{"start_time": TOMORROW}],
    "PUT /api/v1/suppression-list": [{"recipients": [ROW]}],
    "PUT /api/v1/suppression-list/{recipient}": [{"type": "non_transactional", "description": "theirs"}],
    "POST /api/v1/suppression-list/import": [[ROW]],
    "POST /api/v1/sending-domains": [{"domain": f"{MINE}.test", "dkim_key_length": 1024}],
    "PUT /api/v1/sending-domains/{domain}": [{"dkim": None, "is_default_bounce_domain": False}],
    "POST /api/v1/sending-domains/{domain}/verify": [{"dkim_verify": True}],
    "POST /api/v1/subaccounts": [{"name": MINE, "setup_api_key": False}],
    "PUT /api/v1/subaccounts/{id}": [{"name": "theirs", "status": "terminated"}],
    "PUT /api/v1/account": [{"company_name": MINE}],
    "POST /api/v1/transmissions": [
        PLAIN,
        LATER,
        {**PLAIN, "content": {"template_id": MINE}},
        {**PLAIN, "content": {"template_id": MINE, "use_draft_template": True}},
        {**PLAIN, "content": {"ab_test_id": MINE}},
        {**PLAIN, "recipients": {"list_id": MINE}},
        {**PLAIN, "content": {**CONTENT, "text": f"{{{{ render_snippet('{MINE}') }}}}"}},
    ],
}
# Routes without a body of ours, that write: nothing to send.
BARE = {
    "POST /api/v1/ab-test/{id}/cancel",
    *("POST /api/v1/ip-pools", "PUT /api/v1/ip-pools/{id}", "PUT /api/v1/sending-ips/{ip}"),  # not served
    "PUT /api/v1/recipient-lists",  # refused: there is no identifier
    "POST /api/v1/data-privacy/rtbf-request",  # not served
    "POST /api/v1/data-privacy/opt-out-request",
}
QUERIES = {"DELETE /api/v1/transmissions": f"?campaign_id={MINE}"}
# What A makes, in this order; a draft of an A/B test has the same identifier and `-draft` at its end.
MAKES = (
    "POST /api/v1/templates",
    "POST /api/v1/snippets",
    "POST /api/v1/recipient-lists",
    "POST /api/v1/ab-test",
    "POST /api/v1/ab-test/draft",
    "PUT /api/v1/suppression-list",
    "POST /api/v1/sending-domains",
)
# A name of the DNS belongs to one account, so that it is taken is told (api.md 1.7: 7004), and nothing more.
TAKEN = {"POST /api/v1/sending-domains": (400, "7004")}
# For the primary account alone, or not served.
PRIMARY = tuple(f"GET /api/v1/{each}" for each in ("subaccounts", "ip-pools", "sending-ips", "recipient-validation"))
VOLATILE = re.compile(rb"\d{15,}|\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)|[0-9a-f]{40}")
FAMILIES = {
    *("templates", "utils", "snippets", "recipient-lists", "ab-test", "suppression-list", "subaccounts", "account"),
    *("transmissions", "usage", "recipient-validation", "data-privacy", "sending-domains"),
    *("ip-pools", "sending-ips"),  # of the configuration: nobody makes or changes them here
}


class Answer(NamedTuple):
    status: int
    body: Any


class World(NamedTuple):
    """operations: "GET /api/v1/...". a, b: keys. number: of subaccount A; c: of another. sent: of its transmission."""

    place: Foreign
    operations: list[str]
    a: str
    b: str
    c: int
    number: int
    sent: str

    def ask(self, method: str, path: str, body: object = None, *, key: str, subaccount: int | None = None) -> Answer:
        fields = {"Authorization": key, "Content-Type": "application/json"}
        if subaccount is not None:
            fields["X-MSYS-SUBACCOUNT"] = str(subaccount)
        connection = http.client.HTTPConnection("127.0.0.1", self.place.server.http_port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), fields)
            answer = connection.getresponse()
            octets = answer.read()
            is_json = octets and answer.getheader("content-type") == "application/json"
            return Answer(answer.status, json.loads(octets) if is_json else octets)
        finally:
            connection.close()

    def aimed(self, operation: str, name: str) -> Iterator[tuple[str, str, Any]]:
        """Method, path and body of each request to this operation, for what has this name: SECRET or ABSENT."""
        method, _, path = operation.partition(" ")
        query = QUERIES.get(operation.replace("/labs/", "/v1/"), "").replace(MINE, name)
        target = path.replace("{domain}", f"{name}.test").replace("{ip}", "192.0.2.1")
        target = target.replace("{recipient}", f"{name}@one.test").replace("{address}", f"{name}@one.test")
        identifier = name
        if "/transmissions/" in path:
            identifier = self.sent if name == SECRET else "9" * len(self.sent)
        elif "/subaccounts/" in path:
            identifier = str(self.number if name == SECRET else 99)
        elif "/draft/" in path:
            identifier = f"{name}-draft"
        target = target.replace("{id}", identifier)
        assert "{" not in target, f"{operation}: a parameter of the path that is unknown here"
        for body in BODIES.get(operation.replace("/labs/", "/v1/"), [None]):
            yield method, target + query, json.loads(json.dumps(body).replace(MINE, name))

    def seen(self, key: str) -> dict[str, Answer]:
        """All that a key can look at, of SECRET."""
        found = {}
        for operation in self.operations:
            if operation.startswith("GET "):
                for method, path, body in self.aimed(operation, SECRET):
                    found[path] = self.ask(method, path, body, key=key)
        return found


def plain(answer: Answer, name: str, world: World) -> tuple[int, bytes]:
    """Without what differs from one request to the next, and without the identifier."""
    text = json.dumps(answer.body, default=str).encode().replace(name.encode(), b"NAME")
    text = re.sub(rb"\b(99|%d)\b" % world.number, b"N", text)
    return answer.status, VOLATILE.sub(b"V", text)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with foreign(tmp_path_factory.mktemp("isolation")) as place:
        document = place.ask("GET", "/openapi.json")[1]
        operations = [
            f"{method.upper()} {path}"
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if operation.get("security") and not path.startswith("/api/admin/")
        ]
        keys: list[str] = []
        numbers: list[int] = []
        for name in ("A", "B", "C"):
            new = {"name": name, "key_label": name, "key_grants": GRANTS}
            made = place.ask("POST", "/subaccounts", new)[1]["results"]
            keys.append(made["key"])
            numbers.append(made["subaccount_id"])
        world = World(place, operations, keys[0], keys[1], numbers[2], numbers[0], "")
        for operation in MAKES:
            for method, path, body in world.aimed(operation, SECRET):
                answer = world.ask(method, path, body, key=world.a)
                assert answer.status == 200, (operation, answer)
        later = json.loads(json.dumps(LATER).replace(MINE, SECRET))
        sent = world.ask("POST", "/api/v1/transmissions", later, key=world.a)
        assert sent.status == 200, sent
        world = world._replace(sent=sent.body["results"]["id"])
        path = f"/api/v1/transmissions/{world.sent}"
        until(lambda: world.ask("GET", path, key=world.a).status == 200, "the transmission is known")
        yield world


def test_every_route_has_a_case(world: World) -> None:
    for operation in world.operations:
        method, _, path = operation.partition(" ")
        assert path.split("/")[3] in FAMILIES, f"{operation}: what can one subaccount do to another here?"
        if method in ("POST", "PUT"):
            known = operation.replace("/labs/", "/v1/")
            assert (known in BODIES) != (known in BARE), f"{operation}: no body, to try it with another's"


def test_the_owner_sees_it(world: World) -> None:
    """Else the other tests would prove nothing."""
    seen = world.seen(world.a)
    for operation in world.operations:
        if operation.startswith("GET ") and "{" in operation and not operation.startswith(PRIMARY):
            (path,) = {path for _, path, _ in world.aimed(operation, SECRET)}
            assert seen[path].status == 200, (operation, seen[path])


def attack(world: World, operations: list[str], key: str, subaccount: int | None = None) -> None:
    """Ask for what is A's, and for what nobody has."""
    before = world.seen(world.a)
    # Looking comes first and making last: then there are things of one's own with these names.
    order = ["GET", "DELETE", "PUT", "POST"]

    def turn(operation: str) -> tuple[bool, bool, int]:
        method = operation.partition(" ")[0]
        return method != "GET", "{" not in operation, order.index(method)

    for operation in sorted(operations, key=turn):
        tries = zip(world.aimed(operation, SECRET), world.aimed(operation, ABSENT), strict=True)
        for theirs, nobodys in tries:
            found = world.ask(*theirs, key=key, subaccount=subaccount)
            nothing = world.ask(*nobodys, key=key, subaccount=subaccount)
            assert found.status < 500 or found.status == 501, (operation, found)
            if operation in TAKEN:
                assert (found.status, found.body["errors"][0]["code"]) == TAKEN[operation]
            else:
                assert plain(found, SECRET, world) == plain(nothing, ABSENT, world), operation
            if operation.startswith("GET ") and "{" not in operation:
                assert SECRET not in str(found.body), operation
        assert world.seen(world.a) == before, f"{operation} changed what another subaccount sees"


def test_another_subaccount_finds_nothing_and_changes_nothing(world: World) -> None:
    attack(world, world.operations, world.b)


def test_the_primary_account_acting_as_another_finds_nothing(world: World) -> None:
    of_subaccounts = [each for each in world.operations if each.split("/")[3] not in ("subaccounts", "account")]
    attack(world, of_subaccounts, world.place.key, world.c)


def test_a_key_of_a_subaccount_can_not_act_as_another(world: World) -> None:
    before = world.seen(world.a)
    for operation in world.operations:
        for method, path, body in world.aimed(operation, SECRET):
            answer = world.ask(method, path, body, key=world.b, subaccount=world.number)
            assert answer.status == 403, (operation, answer)
    assert world.seen(world.a) == before


def test_the_admin_api_is_not_for_subaccounts(world: World) -> None:
    document = world.place.ask("GET", "/openapi.json")[1]
    for path, methods in document["paths"].items():
        if path.startswith("/api/admin/"):
            for method in methods:
                assert world.ask(method.upper(), path, key=world.b).status == 403, path
