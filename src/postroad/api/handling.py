"""From a Route to what Litestar serves: the caller is found, the request read, the handler asked, the answer packed."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import msgspec
from litestar import Request, Response
from litestar import route as litestar_route
from litestar.response import Stream

from postroad.api.body import BodyReader
from postroad.api.callers import PRIMARY, Admit, Caller, free
from postroad.api.envelope import JSON
from postroad.api.office import Office
from postroad.api.query import read_query
from postroad.api.route import Answer, Ask, Route
from postroad.auth import Key
from postroad.inject.http import Code, Failure, decode_as
from postroad.store.errors import StoreError

_WORTH = 1024  # octets of an answer from which on it is packed
_NAMES = re.compile(r"\{(\w+)\}")
_encode = msgspec.json.Encoder().encode
_NOBODY = Caller(PRIMARY, PRIMARY, Key("", frozenset()), "")


Handle = Callable[[Request[Any, Any, Any]], Awaitable[Response[Any]]]


def served(routes: Iterable[Route[Any, Any]], office: Office, admit: Admit = free) -> list[Any]:
    """Handlers of Litestar: one a path, for all its methods, as only then OPTIONS tells of all of them. admit: counts
    a request; returns header fields that tell of it, or raises Failure."""
    found: dict[str, dict[str, Handle]] = {}
    for route in routes:
        for base in route.bases:
            methods = found.setdefault(base + _NAMES.sub(r"{\1:str}", route.path), {})
            methods[route.method] = _handle(route, office, admit)
            if route.method == "GET":
                methods["HEAD"] = methods["GET"]
    return [_at(path, methods) for path, methods in found.items()]


def _at(path: str, methods: dict[str, Handle]) -> Any:
    async def choose(request: Request[Any, Any, Any]) -> Response[Any]:
        return await methods[request.method](request)

    wanted: Any = list(methods)
    return litestar_route(path, http_method=wanted, media_type=JSON, status_code=200)(choose)


def _handle(route: Route[Any, Any], office: Office, admit: Admit) -> Handle:
    async def handle(request: Request[Any, Any, Any]) -> Response[Any]:
        told: dict[str, str] = {}
        caller = _NOBODY
        if not route.anonymous:
            caller = office.caller(request.scope, route.needs)
            told = admit(caller)
        try:
            answer = await _asked(route, office, caller, request)
        except StoreError as error:
            headers = {"Retry-After": str(error.retry_after)}
            raise Failure(Code.RESOURCES_UNAVAILABLE, str(error), headers=headers) from error
        return _response(answer, request, told)

    return handle


async def _asked(route: Route[Any, Any], office: Office, caller: Caller, request: Request[Any, Any, Any]) -> Any:
    query = read_query(route.query, request.query_params.multi_items())
    headers = request.headers
    with BodyReader(request.receive, headers, route.max_body, office.budget) as reader:
        if route.raw or not route.has_body:
            body = route.body()
        else:
            body = _body(route, headers.get("content-type", ""), await reader.read())
        return await route.handler(Ask(caller, request.path_params, query, body, headers, reader.read))


def _body(route: Route[Any, Any], kind: str, octets: bytes | bytearray) -> Any:
    if not octets and route.optional_body:
        return route.body()
    if octets and kind.partition(";")[0].strip().lower() != JSON:
        raise Failure(Code.UNSUPPORTED_TYPE, "Content-Type must be application/json")
    return decode_as(route.body, octets)


def _response(answer: Any, request: Request[Any, Any, Any], told: dict[str, str]) -> Response[Any]:
    if answer is None:
        return Response(None, status_code=204, headers=told)
    if not isinstance(answer, Answer):
        answer = Answer(answer)
    headers = {**answer.headers, **told}
    content = answer.content
    if isinstance(content, AsyncIterator):
        # As a header: for streams Litestar lets the media type of the route win, which is JSON.
        headers["Content-Type"] = answer.media_type
        return Stream(content, status_code=answer.status, headers=headers)
    octets = content if isinstance(content, bytes) else _encode(content)
    if len(octets) >= _WORTH:
        headers["Vary"] = "Accept-Encoding"
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            octets = gzip.compress(octets, 5, mtime=0)
            headers["Content-Encoding"] = "gzip"
    return Response(octets, status_code=answer.status, media_type=answer.media_type, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """RFC 9110 12.5.3: named, or by *, and not with weight 0."""
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() in ("gzip", "x-gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
