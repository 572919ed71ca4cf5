"""Routes in OpenAPI 3.1: parameters, bodies and every reply of each, from what the route declares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from postroad.api.route import LABS, Route
from postroad.inject.http import Code

_TEMPLATE = "#/components/schemas/{name}"
_NAMES = re.compile(r"\{(\w+)\}")
SECURITY: list[dict[str, list[str]]] = [{"key": []}, {"basic": []}]
SUBACCOUNT = {
    "name": "X-MSYS-SUBACCOUNT",
    "in": "header",
    "description": "Act as this subaccount; 0: the primary account alone. A key of a subaccount can name no other.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
}
_LIMITS = {
    "X-Request-Id": "Of this request: its own X-Request-Id (64 letters, digits, . _ -), or one of ours.",
    "X-RateLimit-Limit": "How many requests of the key may come at once, where there is a limit.",
    "X-RateLimit-Remaining": "Of these, now.",
    "X-RateLimit-Reset": "Seconds until all may come at once again.",
}


class Problem(Struct):
    """One thing that is wrong with a request."""

    message: str
    description: str | msgspec.UnsetType = msgspec.UNSET
    code: str | int | msgspec.UnsetType = msgspec.UNSET


class Problems(Struct):
    """Why a request was refused: everything that is wrong with it. Some families add members of their own."""

    errors: list[Problem]


def describe(routes: Sequence[Route[Any, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(paths, schemas) of these routes."""
    kinds: list[Any] = [Problems]
    for route in routes:
        kinds += [route.query, route.body, *([] if route.answers is None else [route.answers])]
    unique = list(dict.fromkeys(kinds))
    shapes, schemas = msgspec.json.schema_components(unique, ref_template=_TEMPLATE)
    shape_of = dict(zip(unique, shapes, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        for base in route.bases:
            operation = _operation(route, base, shape_of, schemas)
            paths.setdefault(base + route.path, {})[route.method.lower()] = operation
    used = {route.query for route in routes}
    for kind in used:  # told as parameters
        name = shape_of[kind].get("$ref", "").rpartition("/")[2]
        if not any(kind in (route.body, route.answers) for route in routes):
            schemas.pop(name, None)
    return paths, schemas


def _operation(
    route: Route[Any, Any], base: str, shape_of: Mapping[Any, dict[str, Any]], schemas: Mapping[str, Any]
) -> dict[str, Any]:
    problems = shape_of[Problems]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _NAMES.findall(route.path)
    ]
    parameters += _query(route.query, shape_of[route.query], schemas)
    if not route.anonymous:
        parameters.append(SUBACCOUNT)
    found: dict[str, Any] = {
        "operationId": _identity(route, base),
        "summary": route.summary,
        "tags": [route.path.strip("/").partition("/")[0]],
        "security": [] if route.anonymous else SECURITY,
        "parameters": parameters,
        "responses": {**_success(route, shape_of), **_refusals(route, problems)},
    }
    text = route.description
    if not route.anonymous and route.needs:
        text = f"{text}\n\nNeeds the grant `{route.needs}`.".strip()
    if text:
        found["description"] = text
    if route.has_body:
        content: dict[str, Any] = {"schema": {} if route.raw else shape_of[route.body]}
        if route.example is not None:
            content["example"] = route.example
        found["requestBody"] = {"required": not route.optional_body, "content": {route.takes: content}}
    return found


def _success(route: Route[Any, Any], shape_of: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    headers = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in _LIMITS.items()
        if not route.anonymous or name == "X-Request-Id"
    }
    if HTTPStatus.NOT_IMPLEMENTED in route.refuses_with:
        return {}
    if route.answers is None:
        return {"204": {"description": "Done.", "headers": headers}}
    content = {route.media_type: {"schema": shape_of[route.answers]}}
    return {"200": {"description": "Done, or told.", "headers": headers, "content": content}}


def _refusals(route: Route[Any, Any], problems: dict[str, Any]) -> dict[str, Any]:
    told: dict[int, list[str]] = {}
    for code in (*_usual(route), *route.refuses):
        lines = told.setdefault(code.status, [])
        text = f"{code.code} {code.message}".strip()
        if text not in lines:
            lines.append(text)
    for status, text in route.refuses_with.items():
        told.setdefault(status, []).append(text)
    content = {"application/json": {"schema": problems}}
    return {
        str(status): {"description": f"{_phrase(status)}: {'; '.join(lines)}", "content": content}
        for status, lines in sorted(told.items())
    }


def _usual(route: Route[Any, Any]) -> Iterable[Code]:
    """What any route may refuse with."""
    yield Code.BAD_REQUEST
    yield Code.INVALID_PARAMS
    if not route.anonymous:
        yield from (Code.UNAUTHORIZED, Code.FORBIDDEN, Code.TOO_MANY_REQUESTS)
    if _NAMES.search(route.path):
        yield Code.INVALID_URI
    yield from (Code.TOO_LARGE, Code.UNSUPPORTED_TYPE, Code.TOO_MANY_REQUESTS, Code.URI_TOO_LONG)
    if route.has_body:
        yield from (Code.NOT_UTF8, Code.INVALID_FORMAT, Code.MISSING_FIELD)
    yield Code.RESOURCES_UNAVAILABLE


def _query(kind: type[Struct], shape: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[dict[str, Any]]:
    whole = schemas.get(shape.get("$ref", "").rpartition("/")[2], shape)
    required = whole.get("required", ())
    found = []
    for name, schema in whole.get("properties", {}).items():
        plain = _without_null(schema)
        text = schema.get("description") or plain.get("description", "")
        plain = {key: value for key, value in plain.items() if key not in ("description", "default")}
        parameter = {"name": name, "in": "query", "required": name in required, "schema": plain}
        if text:
            parameter["description"] = text
        found.append(parameter)
    return found


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter is there or not; it is never null."""
    options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return dict(options[0] if len(options) == 1 else schema)


def _identity(route: Route[Any, Any], base: str) -> str:
    words = re.findall(r"\w+", route.path.replace("-", "_"))
    name = route.method.lower() + "".join(word.title().replace("_", "") for word in words)
    return f"{name}Labs" if base == LABS else name


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"
