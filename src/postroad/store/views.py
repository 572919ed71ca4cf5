"""How a process holds the objects of one kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self

import msgspec

from postroad.store.catalogfile import File, Head, Place, unpack_record

_decode = msgspec.msgpack.decode


class View(Protocol):
    """What the catalog fills. `fresh` makes an empty one for another file, whose head it is given."""

    def fresh(self, head: Head, file: File) -> Self: ...

    def put(self, subaccount: int, key: str, value: bytes, place: Place) -> None:
        """value: MessagePack."""

    def drop(self, subaccount: int, key: str) -> None: ...


class Values:
    """Keeps the values packed; one is decoded when it is asked for."""

    def __init__(self) -> None:
        self._packed: dict[tuple[int, str], bytes] = {}

    def __len__(self) -> int:
        return len(self._packed)

    def fresh(self, head: Head, file: File) -> Self:
        return type(self)()

    def put(self, subaccount: int, key: str, value: bytes, place: Place) -> None:
        self._packed[subaccount, key] = value

    def drop(self, subaccount: int, key: str) -> None:
        self._packed.pop((subaccount, key), None)

    def get(self, subaccount: int, key: str) -> Any:
        """The value, or None. Yours: it is made anew each time."""
        packed = self._packed.get((subaccount, key))
        return None if packed is None else _decode(packed)

    def packed(self, subaccount: int, key: str) -> bytes | None:
        """The value as MessagePack: the same object as long as it is the same value, so it can be told from another
        by `is` and decoded to a type of your own."""
        return self._packed.get((subaccount, key))

    def keys(self) -> Iterator[tuple[int, str]]:
        return iter(list(self._packed))


class Placed:
    """Keeps only where in the file the values lie: for large ones."""

    def __init__(self, file: File | None = None) -> None:
        self._file = file
        self._places: dict[tuple[int, str], Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def fresh(self, head: Head, file: File) -> Self:
        return type(self)(file)

    def put(self, subaccount: int, key: str, value: bytes, place: Place) -> None:
        self._places[subaccount, key] = place

    def drop(self, subaccount: int, key: str) -> None:
        self._places.pop((subaccount, key), None)

    def keys(self) -> Iterator[tuple[int, str]]:
        return iter(list(self._places))

    def packed(self, subaccount: int, key: str) -> bytes | None:
        """As MessagePack. Reads the file: megabytes are better read in a thread. Raises OSError when it is not what
        it was."""
        place = self._places.get((subaccount, key))
        if place is None or self._file is None:
            return None
        try:
            record = unpack_record(self._file.read(place))
        except msgspec.DecodeError as error:
            raise OSError(f"the catalog can't be read at {place.offset}: {error}") from error
        if (record.subaccount, record.key) != (subaccount, key):
            raise OSError(f"the catalog holds another object at {place.offset}")
        return bytes(record.value)

    def get(self, subaccount: int, key: str) -> Any:
        """The value, or None. As `packed`."""
        packed = self.packed(subaccount, key)
        return None if packed is None else _decode(packed)
