"""One entry of a recipient list (api.md 2.4), checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from postroad.generate import HeaderError, to_field
from postroad.inject.http.content import address_problem
from postroad.inject.http.faults import Code, Fault, fault
from postroad.inject.http.names import name_problem
from postroad.inject.http.shapes import MAX_METADATA, MAX_SUBSTITUTION_DATA, Address, InlineRecipient
from postroad.message.address import AddressError, parse_mailbox

_encode = msgspec.json.Encoder().encode
_NOTHING: Mapping[str, object] = {}


class Entry(NamedTuple):
    """domain: the routing domain. to: the whole To field. sender: its own envelope sender, or "". plain: it brings
    nothing but an address."""

    place: int
    email: str
    domain: str
    name: str
    to: bytes
    sender: str
    shape: InlineRecipient
    plain: bool


def read_entry(place: int, entry: str | InlineRecipient, *, to: bool) -> Entry | Fault:
    """to: is a To field wanted?"""
    shape = InlineRecipient(address=entry) if isinstance(entry, str) else entry
    given = shape.address
    if given is None:
        return fault(Code.MISSING_FIELD, "address is required for each recipient")
    address = Address(email=given) if isinstance(given, str) else given
    email = (address.email or "").strip(" ")
    if not email:
        return fault(Code.MISSING_FIELD, "address.email is required for each recipient")
    try:
        mailbox = parse_mailbox(email)
    except AddressError as error:
        return fault(Code.INVALID_FORMAT, f"invalid recipient address.email: {email[:320]} ({error})")
    field = b""
    if to:
        try:
            field = to_field("address", email, address.name or "", address.header_to)
        except HeaderError as error:
            return fault(Code.INVALID_HEADER, f"recipient {email}: {error}")
    if shape.return_path:
        wrong = address_problem(shape.return_path)
        if wrong is not None:
            return fault(wrong[0], f"recipient {email}: return_path: {wrong[1]}")
    plain = not (shape.metadata or shape.tags or shape.substitution_data or shape.options)
    if not plain:
        if shape.metadata and len(_encode(shape.metadata)) > MAX_METADATA:
            return fault(Code.METADATA_TOO_LARGE, f"recipient {email}: metadata is limited to {MAX_METADATA} bytes")
        if shape.substitution_data and len(_encode(shape.substitution_data)) > MAX_SUBSTITUTION_DATA:
            limit = f"substitution_data is limited to {MAX_SUBSTITUTION_DATA} bytes"
            return fault(Code.SUBSTITUTION_TOO_LARGE, f"recipient {email}: {limit}")
        for member, data in (("metadata", shape.metadata), ("substitution_data", shape.substitution_data)):
            problem = name_problem(member, data) if data else None
            if problem is not None:
                return fault(Code.INVALID_FORMAT, f"recipient {email}: {problem}")
    return Entry(place, email, mailbox.routing, address.name or "", field, shape.return_path or "", shape, plain)
