"""The admin API's own part: reading what it is asked. The verbs are tested with the console."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from postroad.auth import new_key
from postroad.config.schema import ApiKey
from postroad.console import VERBS
from tests.api.harness import Client, serving
from tests.api.test_metrics import Figures


class Verbs(Figures):
    def changes(self, verb: str) -> bool | None:
        return True


@pytest.mark.parametrize(
    "body",
    [b"[", b'{"a":"\xff"}', b"\xff", b"[" * 50_000, b'{"a":' * 50_000, b"[]", b"7", b'{"a":"\\ud800"}'],
    ids=range(8),
)
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    key, digest = new_key()
    keys = [ApiKey(label="operator", sha256=digest, grants=["admin"])]
    async with serving(admin=Verbs(), keys=keys) as served:
        answer = await Client(served.server.address, key).request("POST", "/api/admin/v1/suspend", body)
    assert answer.status in (400, 422), json.dumps(answer.body)
    assert answer.body["errors"][0]["description"]


async def test_the_description_has_every_verb_with_its_shapes() -> None:
    async with serving(admin=Verbs()) as served:
        answer = await Client(served.server.address).request("GET", "/api/v1/openapi.json")
    paths, schemas = answer.body["paths"], answer.body["components"]["schemas"]
    for verb in VERBS.values():
        ((method, operation),) = paths[f"/api/admin/v1/{verb.name}"].items()
        assert method == ("post" if verb.changes else "get") and operation["summary"] == verb.doc
        content = operation["responses"]["200"]["content"]
        assert list(content) == ["application/x-ndjson" if verb.name == "trace" else "application/json"]
        names = {field.name for field in msgspec.structs.fields(verb.arguments)}
        if verb.changes:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            assert set(schemas[reference.rpartition("/")[2]]["properties"]) == names
        else:
            assert {parameter["name"] for parameter in operation["parameters"]} == names
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(answer.body)))
    assert referred <= set(schemas)


async def test_without_a_console_nothing_is_said_of_one() -> None:
    async with serving() as served:
        answer = await Client(served.server.address).request("GET", "/api/v1/openapi.json")
    assert not any("admin" in path for path in answer.body["paths"])


class Away(Verbs):
    async def answer(self, verb: str, arguments: dict[str, object], who: str) -> object:
        raise KeyError("control is away")

    async def metrics(self) -> str:
        raise KeyError("control is away")


async def test_while_control_is_away_it_is_said() -> None:
    key, digest = new_key()
    keys = [ApiKey(label="operator", sha256=digest, grants=["admin"])]
    async with serving(admin=Away(), keys=keys) as served:
        client = Client(served.server.address, key)
        for method, path in (("POST", "/api/admin/v1/suspend"), ("GET", "/metrics")):
            answer = await client.request(method, path)
            assert answer.status == 503 and "control is away" in answer.body["errors"][0]["description"]
