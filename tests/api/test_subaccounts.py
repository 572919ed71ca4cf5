"""/subaccounts (api.md 20.1), through the live surface, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from postroad.auth import Key
from postroad.store.keys import list_keys
from tests.api.office import Open

WHOLE = {"name": "Shop West", "key_label": "shop", "key_grants": ["transmissions/modify"], "ip_pool": "news_1"}


async def _made(management: Open, **fields: Any) -> int:
    answer = await management.api("POST", "/subaccounts", {**WHOLE, **fields})
    assert answer.status == 200, answer.body
    number: int = answer.body["results"]["subaccount_id"]
    return number


async def test_made_with_a_key(management: Open) -> None:
    answer = await management.api("POST", "/subaccounts", {**WHOLE, "key_valid_ips": ["192.0.2.0/24"], "other": 1})
    results = answer.body["results"]
    assert (results["subaccount_id"], results["label"]) == (1, "shop")
    assert len(results["key"]) == 40 and results["short_key"] == results["key"][:4]
    async with management.office.database.read() as connection:
        (key,) = await list_keys(connection)
    assert (key.subaccount, key.grants, key.networks) == (1, ["transmissions/modify"], ["192.0.2.0/24"])
    shown = await management.api("GET", "/subaccounts/1")
    assert results["key"] not in str(shown.body)
    assert shown.body == {
        "results": {
            "id": 1,
            "name": "Shop West",
            "status": "active",
            "compliance_status": "active",
            "ip_pool": "news_1",
            "options": {"deliverability": False},
        }
    }


async def test_made_without_a_key(management: Open) -> None:
    answer = await management.api("POST", "/subaccounts", {"name": "Café", "setup_api_key": False})
    assert answer.body == {"results": {"subaccount_id": 1, "label": "Café"}}
    async with management.office.database.read() as connection:
        assert await list_keys(connection) == []


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"name": None}, "name", "`name` is a required field"),
        ({"name": " "}, "name", "`name` must be printable and not empty"),
        ({"name": "a\r\nBcc: b"}, "name", "`name` must be printable and not empty"),
        ({"name": "x" * 65}, "name", "name must be 64 characters or less"),
        ({"key_label": None}, "key_label", "`key_label` is a required field"),
        ({"key_grants": []}, "key_grants", "`key_grants` is a required field"),
        ({"key_grants": ["subaccount/manage"]}, "key_grants", "Invalid `key_grants value`. Supported values are: "),
        ({"key_grants": ["admin"]}, "key_grants", "Invalid `key_grants value`. Supported values are: "),
        ({"key_valid_ips": ["192.0.2.0/33"]}, "key_valid_ips", "`key_valid_ips` must have valid netmask values"),
        ({"ip_pool": "x" * 21}, "ip_pool", "ip_pool must be 20 characters or less"),
        ({"ip_pool": "news-1"}, "ip_pool", "ip_pool must be alphanumeric and underscore"),
    ],
)
async def test_refused(management: Open, fields: dict[str, Any], param: str, message: str) -> None:
    answer = await management.api("POST", "/subaccounts", {**WHOLE, **fields})
    assert answer.status == 400
    (error,) = answer.body["errors"]
    assert error["param"] == param and error["message"].startswith(message)
    assert (await management.api("GET", "/subaccounts/summary")).body == {"results": {"total": 0}}


@pytest.mark.parametrize("fields", [{"name": 7}, {"key_grants": "x"}, {"options": []}, {"key_valid_ips": {}}])
async def test_wrong_types(management: Open, fields: dict[str, Any]) -> None:
    answer = await management.api("POST", "/subaccounts", {**WHOLE, **fields})
    assert answer.status == 422 and next(iter(fields)) in answer.body["errors"][0]["description"]


async def test_several_faults_are_told_at_once(management: Open) -> None:
    answer = await management.api("POST", "/subaccounts", {})
    assert {error["param"] for error in answer.body["errors"]} == {"name", "key_label", "key_grants"}


async def test_changed(management: Open) -> None:
    number = await _made(management)
    whole = {"id": 99, "name": "New", "key": "x", "status": "suspended", "options": {"deliverability": True}}
    answer = await management.api("PUT", f"/subaccounts/{number}", whole)
    assert answer.body == {"results": {"message": "Successfully updated subaccount information"}}
    results = (await management.api("GET", f"/subaccounts/{number}")).body["results"]
    assert (results["name"], results["status"], results["ip_pool"]) == ("New", "suspended", "news_1")
    assert results["options"] == {"deliverability": True}
    for wrong in ({"status": "gone"}, {"name": ""}, {"ip_pool": "é"}):
        assert (await management.api("PUT", f"/subaccounts/{number}", wrong)).status == 400
    assert (await management.api("GET", f"/subaccounts/{number}")).body["results"] == results


@pytest.mark.parametrize("number", ["5", "0", "-1", "x", "99999999999999999999", "1%00"])
async def test_unknown(management: Open, number: str) -> None:
    assert (await management.api("GET", f"/subaccounts/{number}")).status == 404
    assert (await management.api("PUT", f"/subaccounts/{number}", {"name": "x"})).status == 404


async def test_listed(management: Open) -> None:
    for name in ("b", "a", "c"):
        await _made(management, name=name)
    everything = (await management.api("GET", "/subaccounts")).body
    assert set(everything) == {"results"} and len(everything["results"]) == 3
    page = (await management.api("GET", "/subaccounts?per_page=2&sort_by=name&order=asc")).body
    assert [row["name"] for row in page["results"]] == ["a", "b"] and page["total_count"] == 3
    path = page["links"]["next"]
    assert path.startswith("/api/v1/subaccounts?")
    rest = (await management.api("GET", path.removeprefix("/api/v1"))).body
    assert [row["name"] for row in rest["results"]] == ["c"] and rest["links"] == {}
    assert len((await management.api("GET", "/subaccounts?ids=1,3")).body["results"]) == 2
    assert len((await management.api("GET", "/subaccounts?status=suspended")).body["results"]) == 0


@pytest.mark.parametrize(
    "query",
    ["per_page=0", "per_page=101", "per_page=x", "cursor=%00", "sort_by=key", "order=up", "ids=1,x", "name=%00"],
)
async def test_wrong_parameters(management: Open, query: str) -> None:
    answer = await management.api("GET", f"/subaccounts?{query}")
    assert answer.status == 400 and answer.body["errors"][0]["param"] == query.partition("=")[0]


async def test_a_subaccount_sees_itself_alone(management: Open) -> None:
    for _ in range(8):
        await _made(management)
    seven = management.api.of(7)
    assert (await seven("GET", "/subaccounts/7")).status == 200
    assert (await seven("GET", "/subaccounts/8")).status == 404
    for method, path, body in (
        ("GET", "/subaccounts", None),
        ("GET", "/subaccounts/summary", None),
        ("POST", "/subaccounts", WHOLE),
        ("PUT", "/subaccounts/7", {"status": "active"}),
        ("PUT", "/subaccounts/8", {"status": "terminated"}),
    ):
        assert (await seven(method, path, body)).status == 403


async def test_no_key_gives_more_than_it_has(management: Open) -> None:
    management.keys.more["k" * 40] = Key("k", frozenset(("subaccount/manage", "templates/view")))
    management.api.key = "k" * 40
    assert (await management.api("POST", "/subaccounts", WHOLE)).status == 403
    answer = await management.api("POST", "/subaccounts", {**WHOLE, "key_grants": ["templates/view"]})
    assert answer.status == 200
