"""The reference page of the HTTP API, drawn from its OpenAPI description."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

_HEAD = """\
# HTTP API

The paths of SparkPost's API, as Momentum has them too; what there is of each is told here. Engines answer `POST
/api/v1/transmissions` themselves and pass everything else on to the control process: while that is away, there is a 503
with `Retry-After`, and mail goes on. A running server tells the same at `/docs`, with every shape, and for programs at
`/api/v1/openapi.json`. The verbs of the console are on [another page](admin-api.md).

- The key stands in `Authorization`: alone, as the user name of Basic without password, or as a Bearer token.
- `X-MSYS-SUBACCOUNT` says as whom: 0 is the primary account alone. Without it a GET shows the primary account and all
  subaccounts, and everything else acts for the primary account. The key of a subaccount can name no other.
- Every reply has an `X-Request-Id`: the client's own (64 letters, digits, `.`, `_`, `-`), or one of ours. The log
  has it when something went wrong on our side.
- Bodies may be packed with gzip (`Content-Encoding`); answers of 1 KB and more are for who accepts it, but for those to
  `POST /transmissions`.
- `http.rate` limits how often a key may ask: `X-RateLimit-Limit`, `-Remaining` and `-Reset` tell of it, 429 has a
  `Retry-After`. All but `POST /transmissions` is counted in one place, so the limit is exact;
  `http.transmission_rate` is counted in each engine, so N engines let through N times as many at most.
- Browsers of other sites are given nothing: there are no CORS fields.

"""

Table = Callable[[Iterable[str], Iterable[Iterable[str]]], str]


def api_page(table: Table) -> str:
    from postroad.api.office import Office
    from postroad.api.openapi import described
    from postroad.api.resources import all_routes

    nothing = cast(Any, None)  # routes are only looked at
    tree = described(all_routes(Office(nothing, nothing, nothing, nothing)))
    families: dict[str, list[Sequence[str]]] = {}
    for path, methods in tree["paths"].items():
        for method, operation in methods.items():
            families.setdefault(operation["tags"][0], []).append(_row(method, path, operation))
    text = [_HEAD]
    for family in sorted(families):
        text.append(f"\n## {family}\n\n")
        text.append(table(("route", "does", "parameters", "body", "answers", "grant"), families[family]))
    return "".join(text)


def _row(method: str, path: str, operation: dict[str, Any]) -> Sequence[str]:
    query = [f"`{each['name']}`" for each in operation.get("parameters", ()) if each["in"] == "query"]
    body = [_shape(each["schema"]) for each in operation.get("requestBody", {}).get("content", {}).values()]
    answers = [*operation["responses"]]
    text = operation.get("description", "")
    _, _, grant = text.partition("Needs the grant `")
    about, _, _ = text.partition("Needs the grant")
    summary = f"{operation['summary']}. {about.strip()}".rstrip()
    return (
        f"{method.upper()} `{path}`",
        summary,
        ", ".join(query),
        ", ".join(body),
        " ".join(answers),
        f"`{grant.partition('`')[0]}`" if grant else "",
    )


def _shape(schema: dict[str, Any]) -> str:
    return f"`{schema['$ref'].rpartition('/')[2]}`" if "$ref" in schema else "octets"
