"""/account, and what the API has not."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from postroad.auth import Key
from postroad.store.account import SEEN
from postroad.store.tables.changes import changes
from tests.api.office import Open


async def test_defaults_before_anything_was_set(management: Open) -> None:
    answer = await management.api("GET", "/account")
    assert answer.status == 200
    assert answer.body["results"]["status"] == "active"
    assert answer.body["results"]["options"] == {
        "smtp_tracking_default": False,
        "rest_tracking_default": True,
        "transactional_unsub": False,
        "transactional_default": False,
        "initial_open_pixel_tracking": True,
        "click_tracking": True,
    }
    assert "created" not in answer.body["results"]


async def test_what_is_set_stays_and_the_rest_is_left_alone(management: Open) -> None:
    api = management.api
    answer = await api("PUT", "/account", {"company_name": "Café 例", "options": {"click_tracking": False}})
    assert (answer.status, answer.body) == (200, {"results": {"message": "Account has been updated"}})
    await api("PUT", "/account", {"options": {"smtp_tracking_default": True, "click_tracking": None}, "other": 1})
    results = (await api("GET", "/account")).body["results"]
    assert results["company_name"] == "Café 例"
    assert (results["options"]["click_tracking"], results["options"]["smtp_tracking_default"]) == (False, True)
    assert results["created"] <= results["updated"]


@pytest.mark.parametrize(
    ("body", "status", "code", "description"),
    [
        ({}, 422, "1400", "company_name or options is required"),
        ({"company_name": None}, 422, "1400", "company_name or options is required"),
        ({"company_name": 7}, 422, "1300", "'company_name' must be a string"),
        ({"options": {"click_tracking": "true"}}, 422, "1300", "'options.click_tracking' must be a boolean"),
        ({"options": []}, 422, "1300", "'options' must be an object"),
        (b"{", 400, None, "Request body parsing failed"),
        (b"", 400, None, "Request body parsing failed"),
    ],
)
async def test_refused(management: Open, body: object, status: int, code: str | None, description: str) -> None:
    answer = await management.api("PUT", "/account", body)
    told = answer.body["errors"][0]
    assert (answer.status, told.get("code")) == (status, code)
    assert told["description"].startswith(description)
    assert "created" not in (await management.api("GET", "/account")).body["results"]


async def test_it_is_not_for_subaccounts(management: Open) -> None:
    for method, body in (("GET", None), ("PUT", {"company_name": "x"})):
        assert (await management.api.of(7)(method, "/account", body)).status == 403


async def test_the_grant(management: Open) -> None:
    management.keys.more["k"] = Key("k", frozenset(("templates/modify",)))
    management.api.key = "k"
    answer = await management.api("GET", "/account")
    assert answer.status == 403
    assert answer.body["errors"][0]["description"] == "the key lacks the grant 'account/manage'"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/usage"),
        ("GET", "/recipient-validation/single/a@b.example"),
        ("POST", "/data-privacy/rtbf-request"),
        ("POST", "/data-privacy/opt-out-request"),
    ],
)
async def test_what_there_is_not_is_said(management: Open, method: str, path: str) -> None:
    answer = await management.api(method, path)
    assert answer.status == 501
    assert answer.body["errors"][0]["message"] == "not implemented"


async def test_engines_hear_of_options(management: Open) -> None:
    async with management.office.database.read() as connection:
        assert [each async for each in SEEN.everything(connection)] == []
    await management.api("PUT", "/account", {"options": {"click_tracking": False}})
    async with management.office.database.read() as connection:
        assert [each async for each in SEEN.everything(connection)] == [((0, ""), {"click_tracking": False})]
        assert await SEEN.load(connection, [(0, "")]) == {(0, ""): {"click_tracking": False}}
        rows = (await connection.execute(sa.select(changes.c.kind, changes.c.subaccount, changes.c.key))).all()
    assert [tuple(row) for row in rows] == [("account", 0, "")]
