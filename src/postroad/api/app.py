"""The HTTP application: routes, keys, and the API's own words for everything that goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get, post, route
from litestar.connection import ASGIConnection

from postroad.api.admin import Admin, admin_routes
from postroad.api.callers import NO_SUBACCOUNTS, PRIMARY, Admit, Keys, Subaccounts, find_caller, free
from postroad.api.envelope import JSON, reply
from postroad.api.openapi import document
from postroad.api.transmissions import Injection
from postroad.api.words import application
from postroad.auth import Key
from postroad.inject.http import Code, Failure

CREATE = ("/api/v1/transmissions", "/api/labs/transmissions")  # labs: an alias that old clients use (api.md 1.1)


def make_app(
    injection: Injection,
    keys: Callable[[], Keys],
    accepting: Callable[[], bool],
    admin: Admin | None = None,
    processes: Callable[[], Mapping[str, str]] = dict,
    subaccounts: Subaccounts = NO_SUBACCOUNTS,
    admit: Admit = free,
) -> Litestar:
    """The ASGI application. keys: the valid ones, asked for at each request; accepting: false once we are stopping.
    admin: the console; without one there is no admin API. processes: of the server, and how they are, for whoever asks
    for our health. admit: counts a transmission; returns header fields that tell of it, or raises Failure."""

    def told(status: str) -> Response[bytes]:
        known = processes()
        return reply({"results": {"status": status, **({"processes": known} if known else {})}})

    def require(connection: ASGIConnection[Any, Any, Any, Any], grant: str) -> Key:
        return find_caller(connection.scope, grant, keys(), subaccounts).key

    @post(list(CREATE), status_code=200)
    async def create_transmission(request: Request[Any, Any, Any]) -> Response[bytes]:
        caller = find_caller(request.scope, "transmissions/modify", keys(), subaccounts)
        told = admit(caller)
        connection: dict[str, str] = {"remote_addr": caller.peer}
        if caller.subaccount != PRIMARY:
            connection["subaccount_id"] = str(caller.subaccount)
        created = await injection.create(request.receive, request.headers, request.query_params, connection)
        return reply(created, headers=told)

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
