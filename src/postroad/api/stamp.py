"""What every request and every reply carries: an id (X-Request-Id), by which the logs and a client's report meet."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random, SystemRandom
from typing import Any

FIELD = b"x-request-id"
_GOOD = re.compile(rb"[A-Za-z0-9._-]{1,64}")

App = Callable[[Any, Any, Any], Awaitable[None]]


class RequestIds:
    """A random word, so that those of different processes differ, and a number. rng: as of HttpServer."""

    def __init__(self, rng: Random | None = None) -> None:
        self._word = (rng or SystemRandom()).getrandbits(48)
        self._numbers = count(1)

    def new(self) -> bytes:
        return b"%012x-%x" % (self._word, next(self._numbers))


def stamped(app: App, ids: RequestIds) -> App:
    """The application with ids: the client's own where it sent a fit one, else one of ours."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        given = next((value for name, value in scope["headers"] if name == FIELD), None)
        mark = given if given is not None and _GOOD.fullmatch(given) else ids.new()
        scope["request_id"] = mark.decode()

        async def stamp(event: Any) -> None:
            if event["type"] == "http.response.start":
                headers = [each for each in event["headers"] if each[0] != FIELD]
                headers.append((FIELD, mark))
                event["headers"] = headers
            await send(event)

        await app(scope, receive, stamp)

    return answer
