"""What every route of the management API has without doing anything: reading, refusing, packing, ids."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct
from structlog.testing import capture_logs

from postroad.api.envelope import Refusal
from postroad.api.query import read_query
from postroad.api.route import Answer, Ask, Nothing, PlainAsk, Results, Route
from postroad.inject.http import Code, Failure
from postroad.store.database import Database, sqlite_url
from postroad.store.errors import StoreFull
from tests.api.office import Open, opened


class Inner(Struct):
    flag: bool | None = None


class Thing(Struct):
    """A thing."""

    name: str
    size: int | None = None
    inner: Inner | None = None
    many: list[Inner] | None = None
    more: dict[str, Any] | None = None


class Choice(Struct):
    draft: bool | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    ids: list[str] | None = None
    text: str | None = None


class Must(Struct):
    since: str


async def keep(ask: Ask[Thing, Nothing]) -> Results[Thing]:
    return Results(ask.body)


async def show(ask: Ask[Nothing, Choice]) -> Results[Choice]:
    return Results(ask.query)


async def big(ask: PlainAsk) -> Answer:
    return Answer({"results": "x" * 5000}, headers={"X-Path": ask.path.get("id", "")})


async def full(ask: PlainAsk) -> None:
    raise StoreFull("no room on the disk")


async def odd(ask: PlainAsk) -> None:
    raise Refusal(404, "IP pool not found.", {"message": "m", "param": "p", "value": 3})


async def broken(ask: PlainAsk) -> None:
    raise RuntimeError("a secret of ours")


async def count(ask: PlainAsk) -> Results[int]:
    return Results(len(await ask.octets()))


ROUTES: list[Route[Any, Any]] = [
    Route(method="POST", path="/account", handler=keep, summary="s", body=Thing, max_body=10_000_000),
    Route(method="DELETE", path="/account", handler=keep, summary="s", body=Thing, optional_body=False),
    Route(method="GET", path="/account", handler=show, summary="s", query=Choice),
    Route(method="GET", path="/account/{id}", handler=big, summary="s"),
    Route(method="PUT", path="/account/full", handler=full, summary="s"),
    Route(method="PUT", path="/account/odd", handler=odd, summary="s"),
    Route(method="PUT", path="/account/broken", handler=broken, summary="s"),
    Route(method="PUT", path="/account/raw", handler=count, summary="s", raw=True, max_body=1000, takes="text/csv"),
]


@pytest.fixture
async def surface(tmp_path: Path) -> AsyncIterator[Open]:
    """Routes that ask no database for anything."""
    database = await Database.open(sqlite_url(tmp_path / "none.db"))
    async with opened(database, tmp_path, routes=ROUTES) as found:
        yield found
    await database.close()


UNREADABLE = "Request body parsing failed [Attached error message: "


@pytest.mark.parametrize(
    ("body", "status", "code", "descriptions"),
    [
        (b"", 400, None, [UNREADABLE]),
        (b"{", 400, None, [UNREADABLE]),
        (b"[]", 400, None, [UNREADABLE]),
        (b"7", 400, None, [UNREADABLE]),
        (b"null", 400, None, [UNREADABLE]),
        (b"[" * 200_000, 400, None, [UNREADABLE]),
        (b'{"name":"n","more":' + b'{"a":' * 100_000, 400, None, [UNREADABLE]),
        (b'{"name":"\xff"}', 400, "1305", ["octet 9 of the body is not UTF-8"]),
        (b'{"name":"\\ud800"}', 400, None, [UNREADABLE]),
        ({}, 422, "1400", ["name is a required field"]),
        ({"name": None}, 422, "1400", ["name is a required field"]),
        ({"name": 5}, 422, "1300", ["'name' must be a string"]),
        (
            {"size": "5", "inner": {"flag": 1}, "many": [{}, {"flag": "x"}, 3]},
            422,
            "1400",
            [
                "name is a required field",
                "'size' must be a number",
                "'inner.flag' must be a boolean",
                "'many[1].flag' must be a boolean",
                "'many[2]' must be an object",
            ],
        ),
    ],
    ids=range(13),
)
async def test_bodies_that_are_refused(
    surface: Open, body: object, status: int, code: str | None, descriptions: list[str]
) -> None:
    answer = await surface.api("POST", "/account", body)
    assert answer.status == status, answer.body
    errors = answer.body["errors"]
    assert errors[0].get("code") == code
    assert len(errors) == len(descriptions)
    for told, wanted in zip(errors, descriptions, strict=True):
        assert told["description"].startswith(wanted) and told["message"]


async def test_null_is_absent_and_unknown_members_are_ignored(surface: Open) -> None:
    body = {"name": "n", "size": None, "inner": None, "unknown": [1], "more": {"a": None}}
    answer = await surface.api("POST", "/account", body)
    assert answer.status == 200
    assert answer.body["results"]["name"] == "n"


async def test_types_of_content(surface: Open) -> None:
    for kind, status in (
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
        ("text/plain", 415),
        ("", 415),
    ):
        answer = await surface.api("POST", "/account", {"name": "n"}, headers={"Content-Type": kind})
        assert answer.status == status
    answer = await surface.api("GET", "/account", headers={"Content-Type": "application/json"})
    assert answer.status == 200  # python and node say so without a body


async def test_packed_bodies(surface: Open) -> None:
    packed = {"Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps({"name": "n" * 100_000}).encode())
    answer = await surface.api("POST", "/account", body, headers=packed)
    assert answer.status == 200 and len(answer.body["results"]["name"]) == 100_000
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    assert (await surface.api("POST", "/account", bomb, headers=packed)).status == 413
    assert surface.office.budget.taken == 0
    for bad in (b"no gzip", body[:-20], b""):
        assert (await surface.api("POST", "/account", bad, headers=packed)).status == 400
    answer = await surface.api("POST", "/account", b"{}", headers={"Content-Encoding": "br"})
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip")


async def test_a_body_too_large(surface: Open) -> None:
    answer = await surface.api("POST", "/account", b'{"name":"' + b"x" * 11_000_000)
    assert (answer.status, answer.body["errors"][0]["message"]) == (413, "payload too large")
    assert surface.office.budget.taken == 0
    assert (await surface.api("PUT", "/account/raw", b"x" * 1000)).body == {"results": 1000}
    assert (await surface.api("PUT", "/account/raw", b"x" * 1001)).status == 413


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("br", False), ("", False)],
)
async def test_packed_answers(surface: Open, accepted: str, packed: bool) -> None:
    answer = await surface.api("GET", "/account/1", headers={"Accept-Encoding": accepted})
    assert (answer.headers.get("content-encoding") == "gzip") is packed
    assert answer.headers["vary"] == "Accept-Encoding"
    body = json.loads(gzip.decompress(answer.body)) if packed else answer.body
    assert body == {"results": "x" * 5000}
    small = await surface.api("GET", "/account", headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in small.headers


async def test_methods_and_paths(surface: Open) -> None:
    head = await surface.api("HEAD", "/account/1")
    assert (head.status, head.body, int(head.headers["content-length"])) == (200, None, 5014)
    asked = await surface.api("OPTIONS", "/account")
    assert asked.status == 204
    assert {"GET", "POST", "DELETE"} <= set(asked.headers["allow"].replace(" ", "").split(","))
    assert not [name for name in asked.headers if name.startswith("access-control")]
    wrong = await surface.api("PATCH", "/account", {"name": "n"})
    assert (wrong.status, wrong.body["errors"][0]["code"]) == (405, "1102")
    assert "GET" in wrong.headers["allow"]
    for path in ("/nothing", "/account/1/2", "/Account", "/api/v2/account", "/api/labs/account"):
        answer = await surface.api("GET", path)
        assert (answer.status, answer.body["errors"][0]["code"]) == (404, "1101"), path
    for path in ("/account/", "/account?", "/account/?unknown=1&unknown=2"):
        assert (await surface.api("GET", path)).status == 200
    assert (await surface.api("GET", "/account/a%40b+c")).headers["x-path"] == "a@b+c"


@pytest.mark.parametrize(
    ("query", "results"),
    [
        ("", {"draft": None, "limit": 10, "ids": None, "text": None}),
        ("?draft=true&limit=100", {"draft": True, "limit": 100, "ids": None, "text": None}),
        ("?draft=true&draft=false", {"draft": False, "limit": 10, "ids": None, "text": None}),
        ("?ids=a&ids=b,c,&text=%20x", {"draft": None, "limit": 10, "ids": ["a", "b", "c"], "text": " x"}),
    ],
)
async def test_parameters(surface: Open, query: str, results: object) -> None:
    assert (await surface.api("GET", f"/account{query}")).body == {"results": results}


@pytest.mark.parametrize(
    ("query", "description"),
    [
        ("draft=True", "draft must be true or false"),
        ("draft=1", "draft must be true or false"),
        ("draft=", "draft must be true or false"),
        ("limit=0", "limit must be >= 1"),
        ("limit=101", "limit must be <= 100"),
        ("limit=x", "limit must be a whole number"),
        ("limit=" + "9" * 1000, "limit must be a whole number"),
        ("limit=%C2%B2", "limit must be a whole number"),
    ],
)
async def test_parameters_that_are_refused(surface: Open, query: str, description: str) -> None:
    answer = await surface.api("GET", f"/account?{query}")
    assert (answer.status, answer.body["errors"][0]["code"]) == (400, "1200")
    assert answer.body["errors"][0]["description"] == description


def test_a_parameter_that_must_be_there() -> None:
    with pytest.raises(Failure) as refused:
        read_query(Must, [])
    assert refused.value.code is Code.INVALID_PARAMS
    assert [(each.code, each.description) for each in refused.value.faults] == [("1401", "since is required")]


async def test_words_of_a_family_and_of_the_store(surface: Open) -> None:
    answer = await surface.api("PUT", "/account/odd")
    assert answer.status == 404
    assert answer.body == {"errors": [{"message": "IP pool not found."}, {"message": "m", "param": "p", "value": 3}]}
    answer = await surface.api("PUT", "/account/full")
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")
    assert answer.body["errors"][0]["description"] == "no room on the disk"


async def test_a_fault_of_ours_is_in_the_log_by_its_id_and_told_to_nobody(surface: Open) -> None:
    with capture_logs() as logs:
        answer = await surface.api("PUT", "/account/broken", headers={"X-Request-Id": "abc"})
    assert answer.status == 500
    assert answer.body == {"errors": [{"message": "internal server error"}]}
    assert answer.headers["x-request-id"] == "abc"
    (entry,) = [each for each in logs if each["log_level"] == "error"]
    assert (entry["request_id"], entry["path"]) == ("abc", "/api/v1/account/broken")


async def test_every_answer_has_an_id_of_its_own(surface: Open) -> None:
    seen = set()
    for method, path in (("GET", "/account"), ("GET", "/none"), ("PATCH", "/account"), ("POST", "/account")):
        seen.add((await surface.api(method, path)).headers["x-request-id"])
    seen.add((await surface.api("GET", "/" + "x" * 5000)).headers["x-request-id"])  # refused below the application
    assert len(seen) == 5
