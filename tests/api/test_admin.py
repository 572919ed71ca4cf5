"""The admin API's own part: reading what it is asked. The verbs are tested with the console."""

from __future__ import annotations

import json

import pytest

from postroad.auth import new_key
from postroad.config.schema import ApiKey
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
