"""/ab-test through the live API, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from postroad.net import SystemClock
from postroad.store.abtests import AB_TESTS
from postroad.store.seen import Plan
from tests.api.harness import Answer
from tests.api.office import Open

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600
TEST: dict[str, Any] = {
    "id": "subjects",
    "name": "Subject lines",
    "default_template": {"template_id": "plain", "percent": 60},
    "variants": [{"template_id": "question", "percent": 30}, {"template_id": "shout", "percent": 10}],
    "metric": "count_unique_clicked",
    "audience_selection": "percent",
    "test_mode": "learning",
    "start_time": "2026-05-01T13:00:00+00:00",
    "end_time": "2026-05-03T15:00:00+02:00",
    "engagement_timeout": 2,
}


class SetClock(SystemClock):
    def __init__(self) -> None:
        self.at = NOW

    def wall(self) -> float:
        return self.at


@pytest.fixture
async def clock(management: Open) -> SetClock:
    """And the templates of TEST, of the primary account, and shared."""
    for key in ("plain", "question", "shout"):
        content = {"from": "a@b.example", "subject": key, "text": "t"}
        body = {"id": key, "content": content, "published": True, "shared_with_subaccounts": True}
        assert (await management.api("POST", "/templates", body)).status == 200
    found = SetClock()
    management.office.clock = found
    return found


def told(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = answer.body["errors"][0]
    return found


async def plan_of(management: Open, key: str, subaccount: int = 0) -> Plan | None:
    """What engines see."""
    async with management.office.database.read() as connection:
        found = await AB_TESTS.load(connection, [(subaccount, key)])
        assert found == {whose: value async for whose, value in AB_TESTS.everything(connection)}
    plan: Plan | None = found.get((subaccount, key))
    return plan


async def test_its_life(management: Open, clock: SetClock) -> None:
    api = management.api
    answer = await api("POST", "/ab-test", TEST)
    assert (answer.status, answer.body) == (200, {"results": {"id": "subjects"}})
    found = (await api("GET", "/ab-test/subjects")).body["results"]
    assert found == {
        **TEST,
        "status": "scheduled",
        "version": 1,
        "created_at": "2026-05-01T12:00:00.000+00:00",
        "updated_at": "2026-05-01T12:00:00.000+00:00",
        "start_time": "2026-05-01T13:00:00.000+00:00",
        "end_time": "2026-05-03T13:00:00.000+00:00",
    }
    for hours, status in ((0.99, "scheduled"), (1, "running"), (50.9, "running"), (51, "completed")):
        clock.at = NOW + hours * HOUR
        assert (await api("GET", "/ab-test/subjects")).body["results"]["status"] == status
        for asked in ("scheduled", "running", "completed", "cancelled", "draft"):
            listed = (await api("GET", f"/ab-test?status={asked}")).body["results"]
            assert [each["id"] for each in listed] == (["subjects"] if asked == status else [])
    answer = await api("POST", "/ab-test/subjects/cancel")
    assert (answer.status, "must have status" in told(answer)["message"]) == (409, True)
    # Nothing is said of a winner that nobody counted.
    assert not {"winning_template_id", "engagement_rate"} & set((await api("GET", "/ab-test/subjects")).body["results"])
    # Another round is another version.
    answer = await api("PUT", "/ab-test/subjects", {"start_time": "2026-05-10T00:00:00Z"})
    assert (answer.status, answer.body) == (200, {"results": {"version": 2}})
    found = (await api("GET", "/ab-test/subjects")).body["results"]
    assert (found["version"], found["status"], found["end_time"]) == (2, "scheduled", "2026-06-08T22:00:00.000+00:00")
    assert (await api("GET", "/ab-test/subjects?version=1")).body["results"]["status"] == "completed"
    assert (await api("GET", "/ab-test/subjects?version=3")).status == 404
    assert [each["version"] for each in (await api("GET", "/ab-test")).body["results"]] == [2]
    answer = await api("DELETE", "/ab-test/subjects")
    assert answer.status == 409
    assert told(answer)["message"] == (
        "A/B test 'subjects' must have status 'cancelled' or 'completed' to use this endpoint"
    )
    for _ in range(2):
        answer = await api("POST", "/ab-test/subjects/cancel")
        assert (answer.status, answer.body) == (200, {"results": {"status": "cancelled"}})
    assert (await api("DELETE", "/ab-test/subjects")).status == 204
    answer = await api("DELETE", "/ab-test/subjects")
    assert (answer.status, told(answer)["message"]) == (404, "Resource could not be found")
    assert (await api("GET", "/ab-test/subjects?version=1")).status == 404


async def test_who_gets_what(management: Open, clock: SetClock) -> None:
    api = management.api
    await api("POST", "/ab-test", TEST)
    plan = await plan_of(management, "subjects")
    assert plan is not None
    people = [f"u{n}@b.example" for n in range(5000)]
    before, during, after = (round((NOW + hours * HOUR) * 1000) for hours in (0.5, 2, 49))
    for moment in (before, after):
        assert {plan.chosen(each, moment) for each in people} == {"plain"}
    shares = Counter(plan.chosen(each, during) for each in people)
    for key, share in (("plain", 0.6), ("question", 0.3), ("shout", 0.1)):
        assert abs(shares[key] / len(people) - share) < 0.03
    assert [plan.chosen(each, during) for each in people] == [plan.chosen(each.upper(), during + 1) for each in people]
    await api("POST", "/ab-test/subjects/cancel")
    plan = await plan_of(management, "subjects")
    assert plan is not None and {plan.chosen(each, during) for each in people} == {"plain"}


async def test_by_sample_size(management: Open, clock: SetClock) -> None:
    body = {
        **TEST,
        "audience_selection": "sample_size",
        "default_template": {"template_id": "plain", "sample_size": 100},
        "variants": [{"template_id": "shout", "sample_size": 300}],
        "total_sample_size": 400,
        "confidence_level": 0.9,
        "test_mode": "bayesian",
    }
    assert (await management.api("POST", "/ab-test", body)).status == 200
    plan = await plan_of(management, "subjects")
    assert plan is not None and plan.shares == [("plain", 100.0), ("shout", 300.0)]


async def test_a_running_test_is_not_changed(management: Open, clock: SetClock) -> None:
    api = management.api
    await api("POST", "/ab-test", TEST)
    answer = await api("PUT", "/ab-test/subjects", {"name": "New", "id": "subjects"})
    assert answer.body == {"results": {"version": 1}}
    assert (await api("GET", "/ab-test/subjects")).body["results"]["name"] == "New"
    clock.at = NOW + 2 * HOUR
    answer = await api("PUT", "/ab-test/subjects", {"name": "Newer"})
    assert (answer.status, told(answer)["message"]) == (409, "A/B test subjects is running")
    assert (await api("DELETE", "/ab-test/subjects")).status == 409
    assert (await api("GET", "/ab-test/subjects")).body["results"]["name"] == "New"


async def test_drafts(management: Open, clock: SetClock) -> None:
    api = management.api
    answer = await api("POST", "/ab-test/draft", {"name": "Subject lines!"})
    assert (answer.status, answer.body) == (200, {"results": {"id": "subject-lines"}})
    path = "/ab-test/draft/subject-lines"
    found = (await api("GET", path)).body["results"]
    assert (found["status"], found["version"], found["name"]) == ("draft", 1, "Subject lines!")
    assert [each["id"] for each in (await api("GET", "/ab-test/draft")).body["results"]] == ["subject-lines"]
    assert await plan_of(management, "subject-lines") is None
    for method, other in (("PUT", "/ab-test/subject-lines"), ("POST", "/ab-test/subject-lines/cancel")):
        assert (await api(method, other, {"name": "x"} if method == "PUT" else None)).status == 404
    answer = await api("POST", f"{path}/schedule", {"start_time": "2026-05-02T00:00:00Z"})
    assert (answer.status, told(answer)["code"]) == (422, "1400")
    more = {name: TEST[name] for name in ("default_template", "variants", "metric", "audience_selection", "test_mode")}
    without = {**more, "default_template": {"percent": 60}}
    assert (await api("PUT", path, without)).body == {"results": {"id": "subject-lines"}}
    answer = await api("POST", f"{path}/schedule", {"start_time": "2026-05-02T00:00:00Z"})
    assert (answer.status, told(answer)["message"]) == (400, "default_template must have a template_id")
    await api("PUT", path, more)
    answer = await api("POST", f"{path}/schedule", {})
    assert (answer.status, told(answer)["description"]) == (422, "start_time is a required field")
    answer = await api("POST", f"{path}/schedule", {"start_time": "2026-05-02T00:00:00Z", "engagement_timeout": 48})
    assert (answer.status, answer.body) == (200, {"results": {"id": "subject-lines"}})
    found = (await api("GET", "/ab-test/subject-lines")).body["results"]
    assert (found["status"], found["end_time"]) == ("scheduled", "2026-05-30T00:00:00.000+00:00")
    for method, body in (("PUT", {"name": "x"}), ("DELETE", None)):
        answer = await api(method, path, body)
        assert answer.status == 409
        assert told(answer)["message"] == "A/B test 'subject-lines' must have status 'draft' to use this endpoint"
    assert (await api("GET", path)).status == 404
    await api("POST", "/ab-test/draft", {"name": "x"})
    assert (await api("DELETE", "/ab-test/draft/x")).status == 204
    assert (await api("DELETE", "/ab-test/draft/x")).status == 404


REFUSED: list[tuple[dict[str, Any], int, str | None, str]] = [
    ({"id": "a b"}, 422, "1300", "'id' must consist of"),
    ({"id": "draft"}, 422, "1300", "'id' must not be draft"),
    ({"name": None}, 422, "1400", "name is a required field"),
    ({"name": "a\r\nb"}, 422, "1300", "'name' must not contain control characters"),
    ({"default_template": None}, 422, "1400", "default_template is a required field"),
    ({"default_template": "plain"}, 422, "1300", "'default_template' must be an object"),
    ({"default_template": {"percent": 60}}, 400, None, "default_template must have a template_id"),
    ({"variants": None}, 422, "1400", "variants is a required field"),
    ({"variants": []}, 422, "1300", "variants must be 1 to 20"),
    ({"variants": [{"template_id": "shout", "percent": 1}] * 21}, 422, "1300", "variants must be 1 to 20"),
    ({"variants": [{"percent": 40}]}, 400, None, "Variants must have a template_id"),
    ({"variants": [{"template_id": "shout"}]}, 422, "1400", "variants[0].percent is a required field"),
    ({"variants": [{"template_id": "shout", "percent": 41}]}, 422, "1300", "percent of all templates must add up"),
    ({"variants": [{"template_id": "shout", "percent": 101}]}, 422, "1300", "'variants[0].percent'"),
    ({"variants": [{"template_id": "none", "percent": 40}]}, 422, "1603", "template 'none' does not exist"),
    ({"metric": None}, 422, "1400", "metric is a required field"),
    ({"metric": "count_sent"}, 422, "1300", "'metric' must be count_unique_clicked or"),
    ({"audience_selection": "all"}, 422, "1300", "'audience_selection' must be percent or sample_size"),
    ({"audience_selection": "sample_size"}, 422, "1400", "default_template.sample_size is a required field"),
    ({"test_mode": 1}, 422, "1300", "'test_mode' must be a string"),
    ({"start_time": None}, 422, "1400", "start_time is a required field"),
    ({"start_time": "tomorrow"}, 422, "1300", "start_time must be YYYY"),
    ({"start_time": "2026-05-01T12:00:00"}, 422, "1300", "start_time must be YYYY"),
    ({"end_time": "2026-05-01T13:00:00+00:00"}, 422, "1300", "end_time must be after start_time"),
    ({"start_time": "2026-04-30T00:00:00Z", "end_time": "2026-05-01T00:00:00Z"}, 422, "1300", "end_time must be after"),
    ({"end_time": "2026-06-01T00:00:00Z"}, 422, "1300", "a test may take 30 days"),
    ({"confidence_level": 1}, 422, "1300", "'confidence_level'"),
    ({"engagement_timeout": -1}, 422, "1300", "'engagement_timeout'"),
    ({"total_sample_size": 2**40}, 422, "1300", "'total_sample_size'"),
]


async def test_refused(management: Open, clock: SetClock) -> None:
    api = management.api
    for change, status, code, text in REFUSED:
        answer = await api("POST", "/ab-test", {**TEST, **change})
        assert (answer.status, told(answer).get("code")) == (status, code), (change, answer.body)
        assert told(answer).get("description", told(answer)["message"]).startswith(text), answer.body
    for body in (b"", b"[]", b"{", b"[" * 100_000):
        assert (await api("POST", "/ab-test", body)).status == 400
    assert (await api("GET", "/ab-test")).body["results"] == []
    assert (await api("GET", "/ab-test?status=odd")).status == 400
    for method, path, sent in (
        ("GET", "/ab-test/x", None),
        ("PUT", "/ab-test/x", {"name": "y"}),
        ("POST", "/ab-test/x/cancel", None),
        ("GET", "/ab-test/draft/x", None),
        ("PUT", "/ab-test/draft/x", {"name": "y"}),
        ("POST", "/ab-test/draft/x/schedule", {"start_time": "2026-05-02T00:00:00Z"}),
    ):
        answer = await api(method, path, sent)
        assert (answer.status, told(answer)["message"]) == (404, "A/B test x does not exist"), path
    await api("POST", "/ab-test", TEST)
    for path in ("/ab-test", "/ab-test/draft"):
        answer = await api("POST", path, TEST)
        assert (answer.status, told(answer)["description"]) == (409, "A/B test 'subjects' already exists")
    answer = await api("PUT", "/ab-test/subjects", {"id": "other"})
    assert (answer.status, told(answer)["code"]) == (422, "1300")


async def test_a_draft_of_a_template_is_not_enough(management: Open, clock: SetClock) -> None:
    body = {"id": "new", "content": {"from": "a@b.example", "subject": "s", "text": "t"}}
    await management.api("POST", "/templates", body)
    test = {**TEST, "variants": [{"template_id": "new", "percent": 40}]}
    answer = await management.api("POST", "/ab-test", test)
    assert (answer.status, told(answer)["code"]) == (422, "1603")
    await management.api("PUT", "/templates/new", {"published": True})
    assert (await management.api("POST", "/ab-test", test)).status == 200


async def test_subaccounts(management: Open, clock: SetClock) -> None:
    api, seven, eight = management.api, management.api.of(7), management.api.of(8)
    assert (await seven("POST", "/ab-test", TEST)).status == 200
    assert (await seven("POST", "/ab-test/draft", {"name": "d"})).status == 200
    for client in (eight, api):
        for method, path, body in (
            ("PUT", "/ab-test/subjects", {"name": "y"}),
            ("POST", "/ab-test/subjects/cancel", None),
            ("DELETE", "/ab-test/subjects", None),
            ("PUT", "/ab-test/draft/d", {"name": "y"}),
            ("DELETE", "/ab-test/draft/d", None),
            ("POST", "/ab-test/draft/d/schedule", {"start_time": "2026-05-02T00:00:00Z"}),
        ):
            assert (await client(method, path, body)).status == 404, path
    for path in ("/ab-test/subjects", "/ab-test/draft/d"):
        assert (await eight("GET", path)).status == 404
        assert (await api("GET", path)).body["results"]["subaccount_id"] == 7
        assert (await api("GET", path, subaccount=0)).status == 404
    assert (await eight("GET", "/ab-test")).body["results"] == []
    # Private templates of others are none.
    made: dict[str, Any] = {
        "id": "own",
        "content": {"from": "a@b.example", "subject": "s", "text": "t"},
        "published": True,
    }
    await seven("POST", "/templates", made)
    test = {**TEST, "variants": [{"template_id": "own", "percent": 40}]}
    assert (await eight("POST", "/ab-test", test)).status == 422
    assert (await seven("POST", "/ab-test", {**test, "id": "second"})).status == 200
