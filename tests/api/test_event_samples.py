"""Documentation and samples of events, for anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.events import EVENTS, FIELDS, check
from postroad.store.database import Database, sqlite_url
from postroad.store.schema import upgrade
from tests.api.office import Open, opened


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Open]:
    """With a client that has no key."""
    database = await Database.open(sqlite_url(tmp_path / "postroad.db"))
    await upgrade(database)
    async with opened(database, tmp_path) as found:
        found.api.key = None
        yield found
    await database.close()


async def test_of_webhooks(office: Open) -> None:
    answer = await office.api("GET", "/webhooks/events/documentation")
    assert answer.status == 200
    groups = answer.body["results"]
    assert groups["message_event"]["display_name"] == "Message Events"
    bounce = groups["message_event"]["events"]["bounce"]
    assert bounce["display_name"] == "Bounce"
    wanted = {"description": FIELDS["bounce_class"].description, "sampleValue": "10"}
    assert bounce["event"]["bounce_class"] == wanted
    assert sorted(name for group in groups.values() for name in group["events"]) == sorted(EVENTS)
    answer = await office.api("GET", "/webhooks/events/samples?events=generation_failure,bounce")
    first, second = answer.body["results"]
    assert list(first["msys"]) == ["gen_event"] and first["msys"]["gen_event"]["type"] == "generation_failure"
    assert second["msys"]["message_event"]["type"] == "bounce"
    answer = await office.api("GET", "/webhooks/events/samples")
    for one in answer.body["results"]:
        (event,) = one["msys"].values()  # exactly one group: some clients insist
        assert check(event) == []
    assert len(answer.body["results"]) == len(EVENTS)


@pytest.mark.parametrize("path", ["/events/message", "/message-events/events"])
async def test_without_an_envelope(office: Open, path: str) -> None:
    documented = (await office.api("GET", f"{path}/documentation")).body["results"]
    assert [each["type"]["sampleValue"] for each in documented] == list(EVENTS)
    shown = (await office.api("GET", f"{path}/samples?events=delay&events=bounce")).body["results"]
    assert [each["type"] for each in shown] == ["delay", "bounce"]
    assert all(check(each) == [] for each in shown)


@pytest.mark.parametrize("path", ["/webhooks/events", "/events/message", "/message-events/events"])
@pytest.mark.parametrize("name", ["nothing", "bounce,nothing", "%0d%0aX: y"])
async def test_types_that_are_none(office: Open, path: str, name: str) -> None:
    answer = await office.api("GET", f"{path}/samples?events={name.replace(' ', '%20')}")
    assert (answer.status, answer.body["errors"][0]["code"]) == (400, "1200")
    assert "There is no event type" in answer.body["errors"][0]["description"]
