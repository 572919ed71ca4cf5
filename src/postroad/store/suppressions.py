"""The suppression list as engines hold it: 8 octets an entry, 16 for one that expires (api.md 8.6).

An entry is a keyed 64-bit hash of (subaccount, type, list id, address). Of a million entries one address in 10^13 would
be taken for suppressed by chance; the key, which is the catalog's own, keeps others from choosing addresses that are.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any, Literal, Self

import msgspec

from postroad.store.catalogfile import File, Head, Place

Type = Literal["transactional", "non_transactional"]

KIND = "suppression"
PACKED = ""  # the key of a record that holds many entries
_SHARDS = 1024  # an insertion moves the half of one
_SHIFT = 64 - 10
_CHUNK = 1 << 17  # entries of one packed record


def fold(address: str) -> str:
    """The form under which an address is suppressed: lower case throughout (api.md 8.2), the domain as in the DNS."""
    address = address.strip().lower()
    if address.isascii():
        return address
    local, at, domain = address.rpartition("@")
    if domain.isascii():
        return address
    import idna

    try:
        return f"{local}{at}{idna.encode(domain, uts46=True).decode()}"
    except idna.IDNAError:
        return address


def entry_key(address: str, kind: Type, list_id: str = "") -> str:
    """The key of an entry in `changes` and the catalog. address: folded; list_id: an RFC 2919 token, "" for all."""
    return f"{kind[0]}{list_id} {address}"


def entry_hash(secret: bytes, subaccount: int, key: str) -> int:
    digest = blake2b(f"{subaccount} {key}".encode("utf-8", "surrogatepass"), digest_size=8, key=secret).digest()
    return int.from_bytes(digest, "little")


class Hashes:
    """A set of 64-bit numbers, or with `values` a map from them to numbers of 64 bits."""

    def __init__(self, *, values: bool = False) -> None:
        self._keys: dict[int, array[int]] = {}
        self._values: dict[int, array[int]] | None = {} if values else None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        shard = self._keys.get(number >> _SHIFT)
        if shard is None:
            return False
        at = bisect_left(shard, number)
        return at < len(shard) and shard[at] == number

    def get(self, number: int) -> int:
        """Of a map: its value, 0 where there is none."""
        shard = self._keys.get(number >> _SHIFT)
        if shard is None or self._values is None:
            return 0
        at = bisect_left(shard, number)
        return self._values[number >> _SHIFT][at] if at < len(shard) and shard[at] == number else 0

    def add(self, number: int, value: int = 0) -> None:
        name = number >> _SHIFT
        shard = self._keys.get(name)
        if shard is None:
            shard = self._keys[name] = array("Q")
            if self._values is not None:
                self._values[name] = array("Q")
        at = bisect_left(shard, number)
        there = at < len(shard) and shard[at] == number
        if not there:
            shard.insert(at, number)
            self._count += 1
        if self._values is not None:
            if there:
                self._values[name][at] = value
            else:
                self._values[name].insert(at, value)

    def discard(self, number: int) -> None:
        name = number >> _SHIFT
        shard = self._keys.get(name)
        if shard is None:
            return
        at = bisect_left(shard, number)
        if at < len(shard) and shard[at] == number:
            del shard[at]
            self._count -= 1
            if self._values is not None:
                del self._values[name][at]

    def extend(self, numbers: array[int], values: array[int] | None = None) -> None:
        """Sorted, and all greater than those of an earlier call: copied shard by shard."""
        at = 0
        while at < len(numbers):
            name = numbers[at] >> _SHIFT
            until = bisect_left(numbers, (name + 1) << _SHIFT, at)
            self._keys.setdefault(name, array("Q")).extend(numbers[at:until])
            if self._values is not None:
                assert values is not None
                self._values.setdefault(name, array("Q")).extend(values[at:until])
            self._count += until - at
            at = until


class Suppressions:
    """A view of the catalog's kind "suppression". A record's value: seconds since 1970 until it holds, 0: for good."""

    def __init__(self, secret: bytes = b"") -> None:
        self._secret = secret
        self._forever = Hashes()
        self._until = Hashes(values=True)

    def __len__(self) -> int:
        return len(self._forever) + len(self._until)

    def fresh(self, head: Head, file: File) -> Self:
        return type(self)(head.secret)

    def put(self, subaccount: int, key: str, value: bytes, place: Place) -> None:
        content = msgspec.msgpack.decode(value)
        if key == PACKED:
            numbers, until = (_unpacked(octets) for octets in content)
            if len(until):
                self._until.extend(numbers, until)
            else:
                self._forever.extend(numbers)
            return
        number = entry_hash(self._secret, subaccount, key)
        if content:
            self._until.add(number, content)
            self._forever.discard(number)
        else:
            self._forever.add(number)
            self._until.discard(number)

    def drop(self, subaccount: int, key: str) -> None:
        number = entry_hash(self._secret, subaccount, key)
        self._forever.discard(number)
        self._until.discard(number)

    def suppressed(self, subaccount: int, address: str, *, transactional: bool, now: float, list_id: str = "") -> bool:
        """May mail of this subaccount not go to this address? address: folded. transactional: the message says it is;
        list_id: of its List-Id, "" for none. now: seconds since 1970."""
        if not self._forever and not self._until:
            return False
        kind: Type = "transactional" if transactional else "non_transactional"
        if self._holds(entry_hash(self._secret, subaccount, entry_key(address, kind)), now):
            return True
        return bool(list_id) and self._holds(
            entry_hash(self._secret, subaccount, entry_key(address, kind, list_id)), now
        )

    def _holds(self, number: int, now: float) -> bool:
        return number in self._forever or self._until.get(number) > now


def packed(secret: bytes, entries: Iterable[tuple[int, str, int]]) -> Iterator[Any]:
    """Values of packed records, from (subaccount, key, until). Sorts: a million entries take seconds, in a thread."""
    forever: list[int] = []
    until: list[tuple[int, int]] = []
    for subaccount, key, at in entries:
        number = entry_hash(secret, subaccount, key)
        if at:
            until.append((number, at))
        else:
            forever.append(number)
    forever.sort()
    until.sort()
    for at in range(0, len(forever), _CHUNK):
        yield _octets(forever[at : at + _CHUNK]), b""
    for at in range(0, len(until), _CHUNK):
        piece = until[at : at + _CHUNK]
        yield _octets([number for number, _ in piece]), _octets([when for _, when in piece])


def _octets(numbers: list[int]) -> bytes:
    found = array("Q", numbers)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()


def _unpacked(octets: bytes) -> array[int]:
    found = array("Q")
    found.frombytes(octets)
    if sys.byteorder == "big":
        found.byteswap()
    return found
