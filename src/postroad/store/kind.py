"""A kind of object of the catalog: how what engines see of it is read from its table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

Id = tuple[int, str]  # (subaccount, key)


# (secret, all (subaccount, key, value)) -> values of records that hold many objects each. Called in a thread.
Packed = Callable[[bytes, Iterable[tuple[int, str, Any]]], Iterator[Any]]


class Kind(NamedTuple):
    """name: as told to `changed`. load(connection, ids): the value of each that is there; at most CHUNK at once.
    everything(connection): all there are. packed: of kinds with so many objects that a record each is too much; a
    catalog that is made anew has records with the key "" instead."""

    name: str
    load: Callable[[AsyncConnection, Sequence[Id]], Coroutine[Any, Any, Mapping[Id, Any]]]
    everything: Callable[[AsyncConnection], AsyncIterator[tuple[Id, Any]]]
    packed: Packed | None = None


CHUNK = 500
