"""The OpenAPI 3.1 description, made from the shapes that decode requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from postroad import __version__
from postroad.api.adminpaths import admin_paths
from postroad.api.describing import SECURITY, SUBACCOUNT, describe
from postroad.api.route import Route
from postroad.inject.http import Fault, Transmission


class TransmissionResults(Struct):
    """What became of the recipients; accepted and rejected add up to the entries of the request."""

    total_rejected_recipients: int
    total_accepted_recipients: int
    id: str
    rcpt_to_errors: list[Fault] | msgspec.UnsetType = msgspec.UNSET


class TransmissionReply(Struct):
    results: TransmissionResults
    errors: list[Fault] | msgspec.UnsetType = msgspec.UNSET


_REFUSALS = {
    "400": "The body can not be read, or no recipient is valid.",
    "401": "No key, or an unknown one.",
    "403": "The key may not do this, or not from this address; or the subaccount is suspended.",
    "409": "The Idempotency-Key was used before, with another body.",
    "413": "The body or the message is too large.",
    "414": "The URI is too long.",
    "415": "The body is not JSON.",
    "422": "The request is well formed but invalid.",
    "429": "Too many requests at once: come again later.",
    "503": "No mail is taken at the moment: come again later.",
}


_SCHEMAS = "#/components/schemas/"
_ABOUT = (
    "A request that is refused tells everything that is wrong with it, in `errors`. Unknown parameters and members are "
    "ignored; null is absent. A trailing slash makes no difference."
)
_EXAMPLE = {
    "recipients": [{"address": {"email": "to@b.example", "name": "To"}}],
    "content": {"from": "from@a.example", "subject": "Hello", "text": "Hi"},
}


def document(routes: Sequence[Route[Any, Any]] = (), *, admin: bool = False) -> bytes:
    """The description as JSON: of what engines answer, of these routes, and with `admin` of the admin API."""
    return msgspec.json.encode(described(routes, admin=admin))


def described(routes: Sequence[Route[Any, Any]] = (), *, admin: bool = False) -> dict[str, Any]:
    """The same as a tree."""
    (transmission, created), schemas = msgspec.json.schema_components(
        (Transmission, TransmissionReply), ref_template=_SCHEMAS + "{name}"
    )
    paths, more = describe(routes)
    errors = {"$ref": _SCHEMAS + "Problems"}
    paths = _join(schemas, paths, more, "Api")
    verbs: dict[str, Any] = {}
    if admin:
        verbs, more = admin_paths(errors)
        verbs = _join(schemas, verbs, more, "Admin")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Postroad",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": _merged({"/api/v1/transmissions": {"post": _create(transmission, created, errors)}}, paths)
        | {"/health": {"get": _health()}, "/ready": {"get": _ready(errors)}}
        | verbs,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "Authorization"},
                "basic": {"type": "http", "scheme": "basic", "description": "The key as user name, no password."},
            },
        },
    }


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """A path may have methods in both."""
    return {path: first.get(path, {}) | second.get(path, {}) for path in dict.fromkeys((*first, *second))}


def _join(schemas: dict[str, Any], paths: dict[str, Any], more: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Add `more` to the schemas; the paths that use them. Another schema of a name that is taken gets the prefix."""
    text = msgspec.json.encode((paths, more)).decode()
    for name in more:
        if name in schemas and schemas[name] != more[name]:
            text = text.replace(f'"{_SCHEMAS}{name}"', f'"{_SCHEMAS}{prefix}{name}"')
    paths, found = msgspec.json.decode(text)
    for name, schema in found.items():
        taken = name in schemas and schemas[name] != more[name]
        schemas[f"{prefix}{name}" if taken else name] = schema
    return paths


def _create(transmission: dict[str, Any], created: dict[str, Any], errors: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "createTransmission",
        "summary": "Send a message to one or many recipients",
        "description": "Each accepted recipient is kept before the reply. Needs the grant `transmissions/modify`.",
        "tags": ["transmissions"],
        "parameters": [
            {
                "name": "num_rcpt_errors",
                "in": "query",
                "description": "How many entries of rcpt_to_errors to return; absent: all.",
                "schema": {"type": "integer", "minimum": 0},
            },
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "For 24 hours the same key and body get the same reply, and no second transmission.",
                "schema": {"type": "string"},
            },
            SUBACCOUNT,
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": transmission, "example": _EXAMPLE}},
        },
        "responses": {
            "200": {"description": "At least one recipient was accepted.", "content": _json(created)},
            **{status: {"description": text, "content": _json(errors)} for status, text in _REFUSALS.items()},
        },
        "security": SECURITY,
    }


def _health() -> dict[str, Any]:
    return {
        "operationId": "health",
        "summary": "Is the process alive?",
        "tags": ["health"],
        "security": [],
        "responses": {"200": {"description": "Yes.", "content": _json({"type": "object"})}},
    }


def _ready(errors: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "ready",
        "summary": "Is new mail welcome?",
        "tags": ["health"],
        "security": [],
        "responses": {
            "200": {"description": "Yes.", "content": _json({"type": "object"})},
            "503": {"description": "No.", "content": _json(errors)},
        },
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
