"""What every request and every reply carries: an id (X-Request-Id), by which the logs and a client's report meet."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

FIELD = b"x-request-id"
_GOOD = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_process = secrets.token_hex(6)  # random, so that ids of different processes differ
_numbers = count(1)

App = Callable[[Any, Any, Any], Awaitable[None]]


def new_id() -> bytes:
    return b"%s-%x" % (_process.encode(), next(_numbers))


def stamped(app: App) -> App:
    """The application with ids: the client's own where it sent a fit one, else one of ours."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        given = next((value for name, value in scope["headers"] if name == FIELD), None)
        mark = given if given is not None and _GOOD.fullmatch(given) else new_id()
        scope["request_id"] = mark.decode()

        async def stamp(event: Any) -> None:
            if event["type"] == "http.response.start":
                headers = [each for each in event["headers"] if each[0] != FIELD]
                headers.append((FIELD, mark))
                event["headers"] = headers
            await send(event)

        await app(scope, receive, stamp)

    return answer
