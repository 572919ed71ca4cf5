"""GET /metrics: who gets the figures, and as what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.harness import exchange, serving


class Figures:
    """A console with nothing but figures."""

    refusal = ValueError
    absence = KeyError

    async def answer(self, verb: str, arguments: dict[str, Any], who: str) -> object:
        raise ValueError(verb)

    async def metrics(self) -> str:
        return "postroad_accepting 1\n"

    def changes(self, verb: str) -> bool | None:
        return None


async def scrape(*fields: str) -> tuple[bytes, list[bytes], bytes]:
    """(status line, fields, body) of a request from this machine without a key."""
    async with serving(admin=Figures()) as served:
        head = "\r\n".join(("GET /metrics HTTP/1.1", "Host: x", "Connection: close", *fields))
        answer = await exchange(served.server.address, f"{head}\r\n\r\n".encode())
    head_of_answer, _, body = answer.partition(b"\r\n\r\n")
    status, *found = head_of_answer.split(b"\r\n")
    return status, found, body


async def test_the_type_is_one_that_prometheus_reads() -> None:
    """A parameter given twice is an error to Go, and so the whole scrape."""
    status, fields, body = await scrape()
    assert status == b"HTTP/1.1 200 OK"
    assert b"content-type: text/plain; version=0.0.4; charset=utf-8" in fields
    assert body == b"postroad_accepting 1\n"


@pytest.mark.parametrize(
    "field", ["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "Via: 1.1 proxy", "X-Real-IP: 192.0.2.1"]
)
async def test_what_a_proxy_on_this_machine_hands_on_is_not_local(field: str) -> None:
    status, _, body = await scrape(field)
    assert status == b"HTTP/1.1 401 Unauthorized"
    assert b"postroad_accepting" not in body
