"""The admin API: the verbs of the console over HTTP, `/api/admin/v1/<verb>`.

What only looks is a GET with its arguments in the query; what changes something is a POST with a JSON object.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Stream

from postroad.api.adminpaths import BASE
from postroad.api.envelope import reply
from postroad.auth import Key
from postroad.inject.http import Code, Failure

_MAX_BODY = 1 << 20  # octets
_PROXIED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


class Admin(Protocol):
    """What the API needs of the console. It raises `refusal` with a text for the operator, and `absence` while nobody
    is there who could answer."""

    @property
    def refusal(self) -> type[Exception]: ...

    @property
    def absence(self) -> type[Exception]: ...

    async def answer(self, verb: str, arguments: dict[str, Any], who: str) -> object:
        """Of a trace an async iterator."""

    async def metrics(self) -> str: ...

    def changes(self, verb: str) -> bool | None:
        """Does it change something? None: there is no such verb."""


Authenticate = Callable[[Request[Any, Any, Any], str], Key]


def admin_routes(admin: Admin, require: Authenticate) -> list[Any]:
    """require(request, grant): who asks; raises Failure."""

    @get(f"{BASE}/{{verb:str}}", media_type="application/x-ndjson")  # of streams; replies name their own
    async def look(request: Request[Any, Any, Any], verb: FromPath[str]) -> Response[Any]:
        key = require(request, "admin")
        _check(admin, verb, changes=False)
        return await _answered(admin, verb, _from_query(request.query_params.multi_items()), key, request)

    @post(f"{BASE}/{{verb:str}}", media_type=MediaType.JSON, status_code=200)
    async def change(request: Request[Any, Any, Any], verb: FromPath[str]) -> Response[Any]:
        key = require(request, "admin")
        _check(admin, verb, changes=True)
        return await _answered(admin, verb, await _body(request), key, request)

    @get("/metrics", media_type=MediaType.TEXT)
    async def metrics(request: Request[Any, Any, Any]) -> Response[str]:
        if not _local(request):
            require(request, "metrics")
        try:
            text = await admin.metrics()
        except admin.absence as error:
            raise Failure(Code.RESOURCES_UNAVAILABLE, str(error)) from error
        return Response(text, media_type="text/plain; version=0.0.4")  # Litestar adds the charset

    return [look, change, metrics]


def _check(admin: Admin, verb: str, *, changes: bool) -> None:
    found = admin.changes(verb)
    if found is None:
        raise Failure(Code.INVALID_URI, f"there is no verb {verb[:40]!r}")
    if found != changes:
        allowed = "POST" if found else "GET"
        raise Failure(Code.INVALID_METHOD, f"{verb} wants {allowed}", headers={"Allow": allowed})


async def _answered(
    admin: Admin, verb: str, arguments: dict[str, Any], key: Key, request: Request[Any, Any, Any]
) -> Response[Any]:
    peer = request.client.host if request.client else ""
    try:
        answer = await admin.answer(verb, arguments, f"key {key.label} from {peer}")
    except admin.refusal as error:
        raise Failure(Code.INVALID_PARAMS, str(error)) from error
    except admin.absence as error:
        raise Failure(Code.RESOURCES_UNAVAILABLE, str(error)) from error
    if isinstance(answer, AsyncIterator):
        return Stream(_lines(answer), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})
    return reply({"results": answer})


async def _lines(items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """A JSON line an item, until there are no more or the client goes."""
    try:
        async for item in items:
            yield msgspec.json.encode(item) + b"\n"
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


def _from_query(items: Any) -> dict[str, Any]:
    """`ids` is a list: repeated, or with commas."""
    found: dict[str, Any] = {}
    for name, value in items:
        if name == "ids":
            found.setdefault("ids", []).extend(value.split(","))
        elif name in found:
            raise Failure(Code.INVALID_PARAMS, f"{name[:40]} is given twice")
        else:
            found[name] = value
    return found


async def _body(request: Request[Any, Any, Any]) -> dict[str, Any]:
    octets = bytearray()
    async for chunk in request.stream():
        octets += chunk
        if len(octets) > _MAX_BODY:
            raise Failure(Code.TOO_LARGE, f"more than {_MAX_BODY} octets")
    if not octets:
        return {}
    try:
        found = msgspec.json.decode(octets)
    except RecursionError:
        raise Failure(Code.INVALID_FORMAT, "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failure(Code.INVALID_FORMAT, f"the body is not JSON: {error}") from error
    if not isinstance(found, Mapping):
        raise Failure(Code.INVALID_FORMAT, "the body is not a JSON object")
    return dict(found)


def _local(request: Request[Any, Any, Any]) -> bool:
    """Scrapers on this machine need no key; but what a proxy here hands on may come from anywhere."""
    if any(name in request.headers for name in _PROXIED):
        return False
    host = request.client.host if request.client else ""
    return host == "::1" or host.startswith(("127.", "::ffff:127."))
