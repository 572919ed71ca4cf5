"""What the API tells of itself: the OpenAPI document, the page at /docs, and that both are complete."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

from msgspec import UNSET, Struct, UnsetType, structs

from postroad.api.describing import describe
from postroad.api.openapi import described
from postroad.api.reference import page
from postroad.api.resources import all_routes
from postroad.api.route import Ask, PlainAsk, Results, Route
from postroad.inject.http import Code
from tests.api.office import Open


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for each in value.values() for found in strings(each)]
    if isinstance(value, list):
        return [found for each in value for found in strings(each)]
    return [value] if isinstance(value, str) else []


async def test_the_document_is_whole(management: Open) -> None:
    management.api.key = None
    answer = await management.api("GET", "/openapi.json")
    assert answer.status == 200
    document = answer.body
    assert document["openapi"] == "3.1.0"
    prefix = "#/components/schemas/"
    referred = {text.removeprefix(prefix) for text in strings(document) if text.startswith(prefix)}
    assert referred <= set(document["components"]["schemas"])
    identities = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(identities) == len(set(identities))
    assert {"createTransmission", "health", "ready"} <= set(identities)
    for route in all_routes(management.office):
        for base in route.bases:
            operation = document["paths"][base + route.path][route.method.lower()]
            assert operation["summary"] and operation["tags"]
            responses = operation["responses"]
            success = {"204" if route.answers is None else "200"} if 501 not in route.refuses_with else set()
            assert {status for status in responses if status < "300"} == success
            if not route.anonymous:
                assert {"400", "401", "403", "429", "503"} <= set(responses)
                assert f"`{route.needs}`" in operation["description"]
            names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
            assert names == [field.encode_name for field in structs.fields(route.query)]
            inside = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
            assert inside == re.findall(r"\{(\w+)\}", route.path)
            assert ("requestBody" in operation) == route.has_body


class Wanted(Struct):
    """What is wanted."""

    name: str
    number: int | None = None


class Choice(Struct):
    many: bool | None = None
    ids: list[str] | UnsetType = UNSET


async def nothing(ask: Ask[Wanted, Choice]) -> Results[list[Wanted]]:
    return Results([ask.body])


async def plain(ask: PlainAsk) -> None:
    del ask


def test_a_route_in_full() -> None:
    route = Route(
        method="PUT",
        path="/templates/{id}",
        handler=nothing,
        summary="Change it",
        body=Wanted,
        query=Choice,
        answers=Results[list[Wanted]],
        refuses=(Code.NO_SUBRESOURCE,),
        refuses_with={409: "In use."},
        example={"name": "n"},
    )
    paths, schemas = describe([route])
    operation = paths["/api/v1/templates/{id}"]["put"]
    assert operation["operationId"] == "putTemplatesId"
    assert operation["parameters"][0] == {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    assert operation["parameters"][1] == {
        "name": "many",
        "in": "query",
        "required": False,
        "schema": {"type": "boolean"},
    }
    assert operation["parameters"][2]["schema"] == {"type": "array", "items": {"type": "string"}}
    content = operation["requestBody"]["content"]["application/json"]
    assert content == {"schema": {"$ref": "#/components/schemas/Wanted"}, "example": {"name": "n"}}
    assert schemas["Wanted"]["required"] == ["name"]
    assert "In use." in operation["responses"]["409"]["description"]
    assert "1603 Subresource not found" in operation["responses"]["422"]["description"]
    assert "Choice" not in schemas


def test_two_shapes_of_one_name_can_be_told_apart() -> None:
    class Wanted(Struct):  # another one
        other: int

    async def handler(ask: Ask[Wanted, Choice]) -> None:
        del ask

    routes: list[Route[Any, Any]] = [
        Route(method="PUT", path="/templates/{id}", handler=nothing, summary="s", body=globals()["Wanted"]),
        Route(method="POST", path="/templates", handler=handler, summary="s", body=Wanted),
    ]
    document = described(routes, admin=True)
    shapes = [
        document["components"]["schemas"][
            operation["requestBody"]["content"]["application/json"]["schema"]["$ref"][21:]
        ]
        for operation in (
            document["paths"]["/api/v1/templates/{id}"]["put"],
            document["paths"]["/api/v1/templates"]["post"],
        )
    ]
    assert [list(shape["properties"]) for shape in shapes] == [["name", "number"], ["other"]]


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        if found.get("id"):
            self.ids.add(str(found["id"]))
        self.links += [str(found[name]) for name in ("href", "src", "action") if found.get(name)]


async def test_the_page_asks_nobody_for_anything(management: Open) -> None:
    management.api.key = None
    answer = await management.api("GET", "/docs", whole=True)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = answer.body.decode()
    found = Page()
    found.feed(text)
    assert not {"script", "img", "link", "iframe", "form", "object"} & found.tags
    assert all(link.startswith("#") or link == "/api/v1/openapi.json" for link in found.links)
    assert {link[1:] for link in found.links if link.startswith("#")} <= found.ids
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and f"'sha256-{digest}'" in policy and "unsafe" not in policy
    assert " style=" not in text and " onclick" not in text


def test_what_is_described_is_escaped() -> None:
    route = Route(method="GET", path="/templates", handler=plain, summary="<b>&`<i>`", description="a < b")
    text = page(described([route])).decode()
    assert "&lt;b&gt;&amp;<code>&lt;i&gt;</code>" in text and "a &lt; b" in text
