"""A kind of object of the catalog: how what engines see of it is read from its table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

Id = tuple[int, str]  # (subaccount, key)


class Kind(NamedTuple):
    """name: as told to `changed`. load(connection, ids): the value of each that is there; at most CHUNK at once.
    everything(connection): all there are."""

    name: str
    load: Callable[[AsyncConnection, Sequence[Id]], Coroutine[Any, Any, Mapping[Id, Any]]]
    everything: Callable[[AsyncConnection], AsyncIterator[tuple[Id, Any]]]


CHUNK = 500
