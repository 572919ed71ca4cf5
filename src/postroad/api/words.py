"""Whatever goes wrong below a handler, told in the API's words: exception handlers that all our applications share."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException

from postroad.api.envelope import JSON, Refusal, failed
from postroad.inject.http import Code, Failure

_log = structlog.get_logger("postroad.api")
_BY_STATUS = {404: Code.INVALID_URI, 405: Code.INVALID_METHOD, 413: Code.TOO_LARGE, 415: Code.UNSUPPORTED_TYPE}


def application(handlers: list[Any]) -> Litestar:
    return Litestar(
        handlers,
        exception_handlers={Failure: _told, Refusal: _in_own_words, HTTPException: _framework, Exception: _unforeseen},
        openapi_config=None,
        logging_config=None,  # logging belongs to the process, not to a library
        request_max_body_size=None,  # BodyReader bounds it
        debug=False,
    )


def _told(_: Request[Any, Any, Any], failure: Failure) -> Response[bytes]:
    return failed(failure)


def _in_own_words(_: Request[Any, Any, Any], refusal: Refusal) -> Response[bytes]:
    body = msgspec.json.encode({"errors": refusal.errors})
    return Response(body, status_code=refusal.status, media_type=JSON, headers=refusal.headers)


def _framework(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses."""
    if error.status_code >= 500:
        return _unforeseen(request, error)
    code = _BY_STATUS.get(error.status_code, Code.BAD_REQUEST)
    descriptions = {
        Code.INVALID_URI: f"there is nothing at {request.scope['path'][:200]}",
        Code.INVALID_METHOD: f"{request.method} is not possible here",
    }
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return failed(Failure(code, descriptions.get(code, error.detail[:200]), headers=headers))


def _unforeseen(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A fault of ours: the log gets the details, the client gets none."""
    scope: Any = request.scope
    _log.error(
        "request failed",
        method=request.method,
        path=scope["path"],
        request_id=scope.get("request_id", ""),
        exc_info=error,
    )
    return failed(Failure(Code.SERVER_FAULT))
