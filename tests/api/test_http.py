"""HTTP itself: keys, methods, paths, bodies and their encodings and bounds."""

from __future__ import annotations

import asyncio
import base64
import gzip
from typing import Any
from urllib.parse import quote

import pytest

from postroad.auth import ApiKeys, new_key
from postroad.config.schema import ApiKey, Size
from postroad.message import Reply
from tests.api.harness import BODY, DIGEST, KEY, Served, exchange, post, serving, simple


@pytest.mark.parametrize("key", [None, "", "x" * 40, "Basic eDo=", "Basic !", "{key} x", "é"])
async def test_unauthorized(served: Served, key: str | None) -> None:
    served.client.key = None if key is None else key.replace("{key}", KEY)
    answer = await served.client.post(simple())
    assert answer.status == 401
    assert answer.body == {"errors": [{"message": "Unauthorized"}]}
    assert served.acceptor.kept == []


@pytest.mark.parametrize("form", ["{key}", "Bearer {key}", "Basic {basic}"])
async def test_forms_of_the_key(served: Served, form: str) -> None:
    served.client.key = form.format(key=KEY, basic=base64.b64encode(f"{KEY}:".encode()).decode())
    assert (await served.client.post(simple())).status == 200


async def test_key_of_another_network() -> None:
    async with serving(keys=[ApiKey(label="far", sha256=DIGEST, networks=["192.0.2.0/24"])]) as served:
        answer = await served.client.post(simple())
        assert answer.status == 403
        assert answer.body["errors"][0]["message"] == "Forbidden."


async def test_keys_are_replaced_while_serving(served: Served) -> None:
    key, digest = new_key()
    served.server.keys = ApiKeys([ApiKey(label="new", sha256=digest)])
    assert (await served.client.post(simple())).status == 401
    served.client.key = key
    assert (await served.client.post(simple())).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/nope", "/api/v1", "/api/v1/transmissions/1/2", "/API/v1/transmissions", "/%00"]
)
async def test_unknown_paths(served: Served, path: str) -> None:
    answer = await served.client.request("GET", path)
    assert answer.status == 404
    assert answer.body["errors"][0]["code"] == "1101"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_unknown_methods(served: Served, method: str) -> None:
    answer = await served.client.request(method, "/api/v1/transmissions?")
    assert answer.status == 405
    assert answer.body["errors"][0]["code"] == "1102"
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    ["/api/v1/transmissions", "/api/v1/transmissions/", "/api/v1/transmissions?", "/api/labs/transmissions/?a=b"],
)
async def test_paths_of_transmissions(served: Served, path: str) -> None:
    answer = await served.client.request("POST", path, BODY, {"Content-Type": "application/json; charset=utf-8"})
    assert answer.status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
async def test_content_types(served: Served, kind: str) -> None:
    answer = await served.client.post(simple(), headers={"Content-Type": kind})
    assert answer.status == 415
    assert answer.body["errors"][0]["code"] == "1700"


@pytest.mark.parametrize("asked", ["-1", "x", "1.5", "", "9" * 20, "²"])
async def test_bad_query(served: Served, asked: str) -> None:
    answer = await served.client.post(simple(), query=f"?num_rcpt_errors={quote(asked)}")
    assert answer.status == 400
    assert answer.body["errors"][0]["code"] == "1200"


@pytest.mark.parametrize(("value", "status"), [("0", 200), ("7", 400), ("x", 400), ("-1", 400)])
async def test_subaccount_header(served: Served, value: str, status: int) -> None:
    assert (await served.client.post(simple(), headers={"X-MSYS-SUBACCOUNT": value})).status == status


async def test_health_and_readiness(served: Served) -> None:
    served.client.key = None
    assert (await served.client.request("GET", "/health")).status == 200
    assert (await served.client.request("GET", "/ready")).status == 200
    answer = await served.client.request("HEAD", "/ready")
    assert (answer.status, answer.body) == (200, None)
    served.acceptor.not_now = Reply(452, "4.3.1 full")
    assert (await served.client.request("GET", "/health")).status == 200
    answer = await served.client.request("GET", "/ready")
    assert answer.status == 503
    assert answer.body["errors"][0]["description"] == "452 4.3.1 full"


async def test_description_of_the_api(served: Served) -> None:
    answer = await served.client.request("GET", "/api/v1/openapi.json")
    schemas = answer.body["components"]["schemas"]
    references = {
        word.removeprefix("#/components/schemas/") for word in _strings(answer.body) if word.startswith("#/components/")
    }
    assert references <= set(schemas)
    content = schemas["TransmissionContent"]["properties"]
    assert {"from", "subject", "text", "html", "email_rfc822"} <= set(content)
    assert "post" in answer.body["paths"]["/api/v1/transmissions"]


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for each in value.values() for found in _strings(each)]
    if isinstance(value, list):
        return [found for each in value for found in _strings(each)]
    return [value] if isinstance(value, str) else []


async def test_a_fault_of_ours_tells_nothing() -> None:
    async with serving() as served:

        def broken(_: object) -> Reply | None:
            raise RuntimeError("secret of the house")

        served.acceptor.at_once = True
        served.acceptor.refuse = broken
        answer = await served.client.post(simple())
        assert answer.status == 500
        assert answer.body == {"errors": [{"message": "internal server error"}]}
        # The connection and the server live on.
        assert (await served.client.request("GET", "/health")).status == 200


# --- bodies


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "GZIP"])
async def test_gzip(served: Served, name: str) -> None:
    for body in (gzip.compress(BODY), gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])):
        answer = await served.client.post(body, headers={"Content-Encoding": name})
        assert answer.status == 200
    assert (await served.client.post(simple(), headers={"Content-Encoding": "identity"})).status == 200


@pytest.mark.parametrize(
    "body",
    [gzip.compress(BODY)[:-4], b"not gzip", gzip.compress(BODY) + b"tail", gzip.compress(BODY)[:20]],
    ids=["cut", "not gzip", "tail", "short"],
)
async def test_damaged_gzip(served: Served, body: bytes) -> None:
    answer = await served.client.post(body, headers={"Content-Encoding": "gzip"})
    assert answer.status == 400
    assert "gzip" in answer.body["errors"][0]["description"]


async def test_unknown_encoding(served: Served) -> None:
    answer = await served.client.post(simple(), headers={"Content-Encoding": "br"})
    assert answer.status == 415
    assert answer.headers["accept-encoding"] == "gzip"


async def test_gzip_bomb() -> None:
    async with serving(max_body=Size(1 << 20)) as served:
        bomb = gzip.compress(b" " * (64 << 20))
        assert len(bomb) < 1 << 20
        answer = await served.client.post(bomb, headers={"Content-Encoding": "gzip"})
        assert answer.status == 413
        assert served.server.memory_of_bodies == 0


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_body(chunked: bool) -> None:
    async with serving(max_body=Size(100_000)) as served:
        if chunked:
            chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            data = post(chunk * 3 + b"0\r\n\r\n", "Transfer-Encoding: chunked", "Connection: close")
            reply = await exchange(served.server.address, data, end=False)
            assert reply.startswith(b"HTTP/1.1 413 ")
        else:
            answer = await served.client.post(b" " * 200_000)
            assert answer.status == 413
            assert answer.body["errors"][0]["description"] == "the request body is larger than 100000 bytes"
        assert (await served.client.post(simple())).status == 200
        assert served.server.memory_of_bodies == 0


async def test_a_refusal_reaches_a_client_that_is_still_sending(served: Served) -> None:
    """Closing with unread octets would reset the connection and lose the reply."""
    served.client.key = None
    for _ in range(5):
        answer = await served.client.post(b" " * 8_000_000, headers={"Connection": "close"})
        assert answer.status == 401


async def test_an_endless_body_is_cut_off() -> None:
    async with serving(max_body=Size(100_000)) as served:
        data = post(b"", "Transfer-Encoding: chunked")
        host, _, port = served.server.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        sent = 0
        try:
            while sent < 100 << 20:
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)
        except ConnectionError:
            pass
        assert sent < 100 << 20
        writer.close()
        assert (await served.client.post(simple())).status == 200


async def test_too_large_content() -> None:
    async with serving(max_content=Size(10_000)) as served:
        for content in ({"text": "x " * 6000}, {"text": "x", "html": "é" * 2000}):
            answer = await served.client.post(simple(content={**simple()["content"], **content}))
            assert answer.status == 413
        raw = "From: a@b.example\r\n\r\n" + "x\r\n" * 4000
        assert (await served.client.post(simple(content={"email_rfc822": raw}))).status == 413


async def test_too_many_recipients() -> None:
    async with serving(max_recipients=3) as served:
        assert (await served.client.post(simple(recipients=["a@b.example"] * 3))).status == 200
        answer = await served.client.post(simple(recipients=["a@b.example"] * 4))
        assert answer.status == 422
        assert answer.body["errors"][0]["description"] == "recipients is limited to 3 entries"


async def test_no_thread_is_used(served: Served) -> None:
    """The simulation runs this server on a loop without threads; a guard or handler in a thread would break it."""

    def refuse(*_: object) -> None:
        raise AssertionError("run_in_executor was called")

    host, _, port = served.server.address.rpartition(":")
    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "run_in_executor", refuse)
        for data in (
            post(BODY, f"Content-Length: {len(BODY)}", "Connection: close"),
            post(b"{", "Content-Length: 1", "Connection: close"),
            b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(data)
            assert b"HTTP/1.1 500" not in await reader.read()
            writer.close()


async def test_bodies_in_memory_are_bounded() -> None:
    async with serving(max_in_flight=Size(150_000)) as served:
        served.acceptor.gate = asyncio.Event()
        big = simple(content={**simple()["content"], "text": "x" * 100_000})
        first = asyncio.create_task(served.client.post(big))
        while not served.acceptor.pending:
            await served.client.request("GET", "/health")
        answer = await served.client.post(big)
        assert answer.status == 429
        assert answer.body["errors"][0]["message"] == "Too many requests"
        assert "retry-after" in answer.headers
        served.acceptor.gate.set()
        assert (await first).status == 200
        assert (await served.client.post(big)).status == 200
        assert served.server.memory_of_bodies == 0


async def test_a_client_that_leaves_early_frees_its_memory(served: Served) -> None:
    await exchange(served.server.address, post(BODY[:50], f"Content-Length: {len(BODY)}"))
    assert (await served.client.post(simple())).status == 200
    assert served.server.memory_of_bodies == 0
    assert len(served.acceptor.kept) == 1


async def test_chunked_and_split_anyhow(served: Served) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(BODY[at : at + 7]), BODY[at : at + 7]) for at in range(0, len(BODY), 7))
    data = post(chunks + b"0\r\n\r\n", "Transfer-Encoding: chunked", "Connection: close")
    host, _, port = served.server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for at in range(0, len(data), 11):
        writer.write(data[at : at + 11])
        await writer.drain()
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    data = post(BODY, f"Content-Length: {len(BODY)}") * 5
    reply = await exchange(
        served.server.address, data + post(b"x", "Content-Length: 1", "Connection: close"), end=False
    )
    assert [part[:3] for part in reply.split(b"HTTP/1.1 ")[1:]] == [b"200"] * 5 + [b"400"]
    assert len(served.acceptor.kept) == 5


async def test_expect_continue(served: Served) -> None:
    data = post(b"", f"Content-Length: {len(BODY)}", "Expect: 100-continue", "Connection: close")
    host, _, port = served.server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_refused_body_is_not_asked_for() -> None:
    async with serving(max_body=Size(1000)) as served:
        data = post(b"", "Content-Length: 5000", "Expect: 100-continue", "Connection: close")
        assert (await exchange(served.server.address, data, end=False)).startswith(b"HTTP/1.1 413 ")


async def test_gzip_that_unpacks_to_nothing_is_bounded_too() -> None:
    """Empty members say nothing at any length."""
    packed = gzip.compress(b"") * 4000 + gzip.compress(BODY)
    async with serving(max_body=65_536) as served:
        whole = post(
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed), "Content-Encoding: gzip", "Transfer-Encoding: chunked"
        )
        answer = await exchange(served.server.address, whole)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert served.acceptor.kept == []
