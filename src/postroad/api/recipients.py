"""Recipients of a stored list: each is read and checked alone, and when it is wrong refused alone (api.md 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from postroad.inject.http import Code, Fault, InlineRecipient, fault
from postroad.inject.http.entry import read_entry

_SLICE = 500  # recipients between two looks at the event loop


async def read_recipients(entries: Sequence[Any]) -> tuple[list[Any], list[Fault]]:
    """The valid ones as they were given (a bare address as an object), and what is wrong with each of the others."""
    valid: list[Any] = []
    faults: list[Fault] = []
    for place, entry in enumerate(entries):
        if place % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        problem = recipient_fault(place, entry)
        if problem is not None:
            faults.append(problem)
        else:
            valid.append({"address": {"email": entry}} if isinstance(entry, str) else _kept(entry))
    return valid, faults


def recipient_fault(place: int, entry: Any) -> Fault | None:
    """What is wrong with this recipient, None: nothing. entry: a JSON value."""
    try:
        shape = msgspec.convert({"address": entry} if isinstance(entry, str) else entry, InlineRecipient)
    except msgspec.ValidationError as error:
        return fault(Code.INVALID_FORMAT, f"recipients[{place}]: {_words(error)}")
    found = read_entry(place, shape, to=True)
    return found if isinstance(found, Fault) else None


def _kept(entry: dict[str, Any]) -> dict[str, Any]:
    """What is known of a recipient and not null."""
    return {name: entry[name] for name in _MEMBERS if entry.get(name) is not None}


_MEMBERS = InlineRecipient.__struct_encode_fields__


def _words(error: msgspec.ValidationError) -> str:
    """`Expected str, got int` at its place, in JSON's words."""
    text, _, place = str(error).partition(" - at `$")
    for ours, theirs in (("`str", "`string"), ("`bool`", "`boolean`"), ("`int`", "`number`")):
        text = text.replace(ours, theirs)
    where = place.removesuffix("`").removeprefix(".")
    return f"'{where}': {text.replace(' | null', '')}" if where else text
