"""The OpenAPI 3.1 description, made from the shapes that decode requests."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from postroad import __version__
from postroad.api.adminpaths import admin_paths
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


class Errors(Struct):
    """Why a request was refused: everything that is wrong with it."""

    errors: list[Fault]


_REFUSALS = {
    "400": "The body can not be read, or no recipient is valid.",
    "401": "No key, or an unknown one.",
    "403": "The key may not be used from this address.",
    "413": "The body or the message is too large.",
    "415": "The body is not JSON.",
    "422": "The request is well formed but invalid.",
    "429": "Too many requests at once: come again later.",
    "503": "No mail is taken at the moment: come again later.",
}


def document(*, admin: bool = False) -> bytes:
    """The description as JSON. admin: with the admin API."""
    (transmission, created, errors), schemas = msgspec.json.schema_components(
        (Transmission, TransmissionReply, Errors), ref_template="#/components/schemas/{name}"
    )
    verbs: dict[str, Any] = {}
    if admin:
        verbs, more = admin_paths(errors)
        schemas |= more
    create = {
        "operationId": "createTransmission",
        "summary": "Send a message to one or many recipients",
        "description": "Each accepted recipient is kept before the reply. Unknown members are ignored; null is absent.",
        "parameters": [
            {
                "name": "num_rcpt_errors",
                "in": "query",
                "description": "How many entries of rcpt_to_errors to return; absent: all.",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {"required": True, "content": _json(transmission)},
        "responses": {
            "200": {"description": "At least one recipient was accepted.", "content": _json(created)},
            **{status: {"description": text, "content": _json(errors)} for status, text in _REFUSALS.items()},
        },
        "security": [{"key": []}, {"basic": []}],
    }
    status: dict[str, Any] = {"200": {"description": "Yes.", "content": _json({"type": "object"})}}
    unready = {"503": {"description": "No.", "content": _json(errors)}}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Postroad", "version": __version__},
            "paths": {
                "/api/v1/transmissions": {"post": create},
                "/health": {"get": {"operationId": "health", "summary": "Is the process alive?", "responses": status}},
                "/ready": {
                    "get": {
                        "operationId": "ready",
                        "summary": "Is new mail welcome?",
                        "responses": {**status, **unready},
                    }
                },
                **verbs,
            },
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "key": {"type": "apiKey", "in": "header", "name": "Authorization"},
                    "basic": {
                        "type": "http",
                        "scheme": "basic",
                        "description": "The key as user name, no password.",
                    },
                },
            },
        }
    )


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
