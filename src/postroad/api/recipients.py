"""Recipients of a stored list: each is read and checked alone, and when it is wrong refused alone (api.md 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from postroad.generate import HeaderError, to_field
from postroad.inject.http import Code, Fault, fault
from postroad.inject.http.shapes import MAX_METADATA, MAX_SUBSTITUTION_DATA, Address, InlineRecipient
from postroad.message.address import AddressError, parse_mailbox

_SLICE = 500  # recipients between two looks at the event loop
_encode = msgspec.json.Encoder().encode


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
    if shape.address is None:
        return fault(Code.MISSING_FIELD, "address is required for each recipient")
    address = Address(email=shape.address) if isinstance(shape.address, str) else shape.address
    email = (address.email or "").strip(" ")
    if not email:
        return fault(Code.MISSING_FIELD, "address.email is required for each recipient")
    try:
        parse_mailbox(email)
    except AddressError as error:
        return fault(Code.INVALID_FORMAT, f"invalid recipient address.email: {email[:320]} ({error})")
    try:
        if not any("{{" in (text or "") for text in (address.name, address.header_to)):
            to_field("address", email, address.name or "", address.header_to)
    except HeaderError as error:
        return fault(Code.INVALID_HEADER, f"recipient {email}: {error}")
    if shape.return_path:
        try:
            parse_mailbox(shape.return_path)
        except AddressError as error:
            return fault(Code.INVALID_FORMAT, f"recipient {email}: return_path: {shape.return_path[:320]!r}: {error}")
    if shape.metadata and len(_encode(shape.metadata)) > MAX_METADATA:
        return fault(Code.METADATA_TOO_LARGE, f"recipient {email}: metadata is limited to {MAX_METADATA} bytes")
    if shape.substitution_data and len(_encode(shape.substitution_data)) > MAX_SUBSTITUTION_DATA:
        limit = f"substitution_data is limited to {MAX_SUBSTITUTION_DATA} bytes"
        return fault(Code.SUBSTITUTION_TOO_LARGE, f"recipient {email}: {limit}")
    return None


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
