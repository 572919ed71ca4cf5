"""The HTTP application: routes, keys, and the API's own words for everything that goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get, post, route
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from postroad.api.admin import Admin, admin_routes
from postroad.api.envelope import JSON, reply
from postroad.api.openapi import document
from postroad.api.transmissions import Injection
from postroad.api.words import application
from postroad.auth import ApiKeys, AuthFailure, Key
from postroad.inject.http import Code, Failure

CREATE = ("/api/v1/transmissions", "/api/labs/transmissions")  # labs: an alias that old clients use (api.md 1.1)


def make_app(
    injection: Injection,
    keys: Callable[[], ApiKeys],
    accepting: Callable[[], bool],
    admin: Admin | None = None,
    processes: Callable[[], Mapping[str, str]] = dict,
) -> Litestar:
    """The ASGI application. keys: the valid ones, asked for at each request; accepting: false once we are stopping.
    admin: the console; without one there is no admin API. processes: of the server, and how they are, for whoever asks
    for our health."""

    def told(status: str) -> Response[bytes]:
        known = processes()
        return reply({"results": {"status": status, **({"processes": known} if known else {})}})

    def require(connection: ASGIConnection[Any, Any, Any, Any], grant: str) -> Key:
        result = keys().authenticate(_authorization(connection.scope["headers"]), _peer(connection.scope))
        if result is AuthFailure.FORBIDDEN:
            raise Failure(Code.FORBIDDEN, "the key may not be used from this address")
        if not isinstance(result, Key):
            raise Failure(Code.UNAUTHORIZED)
        if not result.may(grant):
            raise Failure(Code.FORBIDDEN, f"the key lacks the grant {grant!r}")
        return result

    # A coroutine: Litestar runs plain functions in a thread.
    async def require_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        require(connection, "transmissions")

    @post(list(CREATE), status_code=200, guards=[require_key])
    async def create_transmission(request: Request[Any, Any, Any]) -> Response[bytes]:
        _check_subaccount(request.headers.get("x-msys-subaccount"))
        connection = {"remote_addr": _peer(request.scope)}
        return reply(await injection.create(request.receive, request.headers, request.query_params, connection))

    @route("/health", http_method=["GET", "HEAD"], media_type=MediaType.JSON)
    async def health() -> Response[bytes]:
        return told("ok")

    @route("/ready", http_method=["GET", "HEAD"], media_type=MediaType.JSON)
    async def ready() -> Response[bytes]:
        refusal = injection.acceptor.refusal()
        if accepting() and refusal is None:
            return told("ready")
        raise Failure(Code.RESOURCES_UNAVAILABLE, "stopping" if refusal is None else str(refusal))

    described = document(admin=admin is not None)

    @get("/api/v1/openapi.json", media_type=MediaType.JSON)
    async def openapi() -> Response[bytes]:
        return Response(described, media_type=JSON)

    verbs = admin_routes(admin, require) if admin is not None else []
    return application([create_transmission, health, ready, openapi, *verbs])


def _authorization(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    return next((value for name, value in headers if name == b"authorization"), None)


def _peer(scope: Mapping[str, Any]) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _check_subaccount(value: str | None) -> None:
    if value is None or value.strip() == "0":
        return
    if not (value.strip().isascii() and value.strip().isdecimal()):
        raise Failure(Code.INVALID_PARAMS, "X-MSYS-SUBACCOUNT must be a whole number")
    raise Failure(Code.INVALID_PARAMS, "subaccounts are not available in this version")
