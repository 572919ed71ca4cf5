"""The API reference that Postroad serves at /docs: one page, drawn from the OpenAPI description, that asks no host for
anything and runs no script."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
code,pre{font-family:ui-monospace,monospace;font-size:.9em}
pre{overflow-x:auto;padding:.6rem;border:1px solid #8886;border-radius:4px}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.25rem .5rem;border-top:1px solid #8886}
details{border:1px solid #8886;border-radius:4px;padding:.4rem .7rem;margin:.4rem 0}
summary{cursor:pointer}.method{display:inline-block;min-width:4.5rem;font-weight:600}
nav a{margin-right:.8rem}
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page(described: Mapping[str, Any]) -> bytes:
    """described: the OpenAPI description as a tree."""
    return "".join(_whole(described)).encode()


def _whole(described: Mapping[str, Any]) -> Iterator[str]:
    schemas = described["components"]["schemas"]
    families: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            families.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    title = f"{described['info']['title']} API {described['info']['version']}"
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    yield f"<h1>{escape(title)}</h1><p>{_text(described['info']['description'])}</p>"
    yield '<p>The same for programs: <a href="/api/v1/openapi.json">openapi.json</a>.</p><nav>'
    for family in families:
        yield f'<a href="#{escape(family)}">{escape(family)}</a> '
    yield "</nav>"
    for family, operations in families.items():
        yield f'<h2 id="{escape(family)}">{escape(family)}</h2>'
        for method, path, operation in operations:
            yield from _operation(method, path, operation, schemas)
    yield "<h2>Shapes</h2>"
    for name, schema in schemas.items():
        yield f'<details id="{escape(name)}"><summary><code>{escape(name)}</code> '
        yield f"{_text(schema.get('description', ''))}</summary>{''.join(_members(schema))}</details>"


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield f'<details id="{escape(operation["operationId"])}"><summary><span class="method">{method}</span> '
    yield f"<code>{escape(path)}</code> {_text(operation['summary'])}</summary>"
    if operation.get("description"):
        yield f"<p>{_text(operation['description'])}</p>"
    if operation.get("parameters"):
        yield "<table><tr><th>parameter<th>in<th>type<th>meaning"
        for each in operation["parameters"]:
            mark = " (required)" if each.get("required") else ""
            yield f"<tr><td><code>{escape(each['name'])}</code>{mark}<td>{each['in']}<td>{_type(each['schema'])}"
            yield f"<td>{_text(each.get('description', ''))}"
        yield "</table>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body, <code>{escape(kind)}</code>: {_type(content['schema'])}</p>"
        if "example" in content:
            yield f"<pre>{escape(json.dumps(content['example'], indent=2, ensure_ascii=False))}</pre>"
    yield "<table><tr><th>status<th>answer<th>shape"
    for status, answer in operation["responses"].items():
        kinds = ", ".join(_type(content["schema"]) for content in answer.get("content", {}).values())
        yield f"<tr><td>{status}<td>{_text(answer['description'])}<td>{kinds}"
    yield "</table></details>"


def _members(schema: Mapping[str, Any]) -> Iterator[str]:
    yield "<table><tr><th>member<th>type<th>meaning"
    for name, member in schema.get("properties", {}).items():
        mark = " (required)" if name in schema.get("required", ()) else ""
        yield f"<tr><td><code>{escape(name)}</code>{mark}<td>{_type(member)}<td>{_text(_doc(member))}"
    yield "</table>"


def _doc(schema: Mapping[str, Any]) -> str:
    own = schema.get("description", "")
    return own or next((each["description"] for each in schema.get("anyOf", ()) if "description" in each), "")


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    for members in ("anyOf", "oneOf", "allOf"):
        if members in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[members] if each != {"type": "null"}))
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(each))}</code>" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and schema.get("properties"):
        return f"object with {', '.join(f'<code>{escape(name)}</code>' for name in schema['properties'])}"
    return escape(str(schema.get("type", "anything")))


def _text(text: str) -> str:
    """Escaped; `words` in backquotes as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
