"""The one shape of replies (api.md 1.4, 1.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Response

from postroad.inject.http import Code, Failure, Fault, fault

JSON = "application/json"
_encode = msgspec.json.Encoder().encode


def reply(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    return Response(_encode(content), status_code=status, media_type=JSON, headers=headers)


def failure_body(faults: Sequence[Fault], results: Mapping[str, Any] | None = None) -> bytes:
    return _encode({"errors": faults} if results is None else {"errors": faults, "results": results})


def failed(failure: Failure) -> Response[bytes]:
    return Response(
        failure_body(failure.faults, failure.results),
        status_code=failure.code.status,
        media_type=JSON,
        headers=failure.headers,
    )


class Refusal(Exception):
    """A refusal in words of its own family, where api.md gives other ones than Code has: 404 `IP pool not found.`, or
    entries with `param` and `value`. Everything else is a Failure."""

    def __init__(self, status: int, *errors: Mapping[str, Any] | str, headers: Mapping[str, str] | None = None) -> None:
        """errors: members of the entries of `errors`; a text is the message alone."""
        self.status = status
        self.errors = [{"message": each} if isinstance(each, str) else dict(each) for each in errors]
        self.headers = dict(headers or {})
        super().__init__("; ".join(str(each.get("message", "")) for each in self.errors))


def plain_failure(code: Code, description: str = "") -> bytes:
    """The body alone, for replies below the application."""
    return failure_body([fault(code, description)])
