"""/api/v1/openapi.json and /docs: the API tells of itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from postroad.api.openapi import described, document
from postroad.api.reference import HEADERS, page
from postroad.api.route import Answer, PlainAsk, Route


def describing(routes: Sequence[Route[Any, Any]]) -> list[Route[Any, Any]]:
    """Routes that describe these, what engines answer, and themselves. Drawn when somebody asks for the first time."""

    @cache
    def as_json() -> bytes:
        return document([*routes, *own], admin=True)

    @cache
    def as_page() -> bytes:
        return page(described([*routes, *own], admin=True))

    async def machine(ask: PlainAsk) -> Answer:
        del ask
        return Answer(as_json())

    async def people(ask: PlainAsk) -> Answer:
        del ask
        return Answer(as_page(), headers=HEADERS, media_type="text/html")  # Litestar adds the charset

    own: list[Route[Any, Any]] = [
        Route(
            method="GET",
            path="/openapi.json",
            handler=machine,
            summary="This description",
            answers=dict[str, Any],
            anonymous=True,
        ),
        Route(
            method="GET",
            path="/docs",
            bases=("",),
            handler=people,
            summary="This description, for people",
            answers=str,
            media_type="text/html",
            anonymous=True,
        ),
    ]
    return own
