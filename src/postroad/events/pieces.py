"""Pieces of JSON that events are joined from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha1
from time import gmtime

from msgspec.json import Encoder

from postroad.events.reasons import sound

_json = Encoder().encode


def iso_time(wall: float) -> str:
    """2017-04-24T16:17:07.000Z (api.md 1.11). wall: Unix seconds; parts of a millisecond are cut."""
    second, part = divmod(int(wall * 1000), 1000)
    return f"{_iso_second(second)}.{part:03d}Z"


@lru_cache(maxsize=4)
def _iso_second(second: int) -> str:
    year, month, day, hour, minute, sec, *_ = gmtime(second)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{sec:02d}"


@lru_cache(maxsize=4)
def unix_text(second: int) -> bytes:
    """The digits of a wall time in whole Unix seconds."""
    return b"%d" % second


def json_text(value: str) -> bytes:
    """A JSON string, whatever the text holds."""
    try:
        return _json(value)
    except UnicodeEncodeError:
        return _json(sound(value))


def json_object(members: dict[str, object]) -> bytes:
    """A JSON object with its braces, whatever its texts hold."""
    try:
        return _json(members)
    except UnicodeEncodeError:
        return _json(_sound_value(members))


def _sound_value(value: object) -> object:
    if isinstance(value, str):
        return sound(value)
    if isinstance(value, dict):
        return {sound(str(key)): _sound_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sound_value(item) for item in value]
    return value


def only(event: Mapping[str, object], names: frozenset[str]) -> dict[str, object]:
    """The members of these names that have a value."""
    return {name: value for name, value in event.items() if name in names and value is not None and value != ""}


def recipient_members(address: str) -> bytes:
    """The members about the envelope recipient, without braces. A bare `postmaster` has no domain member."""
    lower = address.lower()
    raw = json_text(address)
    low = raw if lower == address else json_text(lower)
    digest = sha1(lower.encode("utf-8", "replace"), usedforsecurity=False).hexdigest().encode()
    at = lower.rfind("@") + 1
    domain = b',"recipient_domain":' + json_text(lower[at:]) if at else b""
    return b'"rcpt_to":%b,"raw_rcpt_to":%b,"rcpt_hash":"%b"%b' % (low, raw, digest, domain)
