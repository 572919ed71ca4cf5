"""The admin API in the OpenAPI description: a path a verb, made from the shapes of its arguments and of its answer."""

from __future__ import annotations

from typing import Any

import msgspec

from postroad.console import ANSWERS, VERBS

BASE = "/api/admin/v1"
_TEMPLATE = "#/components/schemas/{name}"
_STREAM = "application/x-ndjson"


def admin_paths(errors: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(paths, schemas). errors: the schema of a refusal."""
    asked = [verb.arguments for verb in VERBS.values()]
    answered = list(dict.fromkeys(ANSWERS.values()))
    found, schemas = msgspec.json.schema_components((*asked, *answered), ref_template=_TEMPLATE)
    # Arguments and answers have classes of the same names.
    arguments = dict(zip(VERBS, found, strict=False))
    answers = dict(zip(answered, found[len(asked) :], strict=True))
    paths = {}
    for verb in VERBS.values():
        operation: dict[str, Any] = {
            "operationId": _camel(verb.name),
            "summary": verb.doc,
            "tags": ["admin"],
            "security": [{"key": []}, {"basic": []}],
            "responses": {
                "200": {"description": "Done, or told.", "content": _content(verb.name, answers[ANSWERS[verb.name]])},
                "400": _refused("An argument is wrong, or it can't be done: the text says why.", errors),
                "401": _refused("No key, or an unknown one.", errors),
                "403": _refused("The key lacks the grant `admin`.", errors),
                "414": _refused("The URI is too long.", errors),
                "503": _refused("The control process is away: ask again in some seconds. Mail goes on.", errors),
            },
        }
        if verb.changes:
            operation["responses"] |= {
                "413": _refused("The body is too large.", errors),
                "422": _refused("The body is no JSON object.", errors),
            }
            operation["requestBody"] = {"content": {"application/json": {"schema": arguments[verb.name]}}}
        else:
            operation["parameters"] = _parameters(verb.arguments)
        paths[f"{BASE}/{verb.name}"] = {"post" if verb.changes else "get": operation}
    return paths, schemas


def _content(verb: str, schema: dict[str, Any]) -> dict[str, Any]:
    if verb == "trace":
        return {_STREAM: {"schema": schema}}
    whole = {"type": "object", "properties": {"results": schema}, "required": ["results"]}
    return {"application/json": {"schema": whole}}


def _refused(text: str, errors: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": errors}}}


def _parameters(arguments: type[Any]) -> list[dict[str, Any]]:
    (_,), schemas = msgspec.json.schema_components((arguments,), ref_template=_TEMPLATE)
    shape = schemas[arguments.__name__]
    required = shape.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in shape["properties"].items()
    ]


def _camel(name: str) -> str:
    first, *rest = name.split("-")
    return first + "".join(word.capitalize() for word in rest)
