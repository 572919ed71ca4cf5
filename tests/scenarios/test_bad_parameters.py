"""Paths and query parameters of every route, the admin API's too, with what nobody should send: never a 5xx."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.scenarios.foreign import Foreign, foreign
from tests.scenarios.test_bad_input import WRONG, Client

ENDLESS = "/api/admin/v1/trace"  # a stream for as long as the client listens
UNSERVED = 501
SEGMENTS = (
    *(
        "%00",
        "%0d%0aX-Evil:%20x",
        "%ff",
        "..%2f..%2fetc",
        "a%2Fb",
        "%F0%9F%98%80",
        "%e2%80%ae",
        "{{x}}",
        "-1",
        "9" * 23,
    ),
    "a" * 3000,
)
TIMES = ("2020-13-45", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "9" * 20, "-0")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    with foreign(tmp_path_factory.mktemp("parameters")) as found:
        yield found


def operations(place: Foreign) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each."""
    for path, methods in place.ask("GET", "/openapi.json")[1]["paths"].items():
        if path != ENDLESS:
            for method, operation in methods.items():
                yield method.upper(), path, operation


def test_parameters(place: Foreign) -> None:
    client = Client(place)
    asked = 0
    for method, path, operation in operations(place):
        target = re.sub(r"\{\w+\}", "a.test", path)
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and method == "GET":
                for value in (*WRONG, *TIMES):
                    text = value if isinstance(value, str) else json.dumps(value)
                    status, answer = client(method, f"{target}?{parameter['name']}={quote(text)}")
                    assert status < 500 or status == UNSERVED, (path, parameter["name"], value, answer)
                    asked += 1
    client.close()
    assert asked > 500


def test_segments_of_the_path(place: Foreign) -> None:
    client = Client(place)
    asked = 0
    for method, path, _ in operations(place):
        for segment in SEGMENTS if "{" in path else ():
            body = b"{}" if method in ("PUT", "POST") else None
            status, answer = client(method, re.sub(r"\{\w+\}", segment, path), body)
            assert status < 500 or status == UNSERVED, (method, path, segment, answer)
            asked += 1
    client.close()
    assert asked > 200


def test_arguments_of_the_admin_api(place: Foreign) -> None:
    client = Client(place)
    asked = 0
    schemas = place.ask("GET", "/openapi.json")[1]["components"]["schemas"]
    for method, path, operation in operations(place):
        if path.startswith("/api/admin/") and method == "POST":
            shape = operation["requestBody"]["content"]["application/json"]["schema"]
            for name in schemas[shape["$ref"].rpartition("/")[2]]["properties"]:
                for value in WRONG:
                    status, answer = client(method, path, json.dumps({name: value}).encode())
                    assert status < 500, (path, name, value, answer)
                    asked += 1
    client.close()
    assert asked > 200
