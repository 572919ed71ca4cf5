"""Checks that the resources share: ids, names and texts of stored objects (api.md 3.2, 5, 6, 7)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from postroad.api.callers import PRIMARY, Caller
from postroad.inject.http import Code, Failure
from postroad.inject.http.faults import Faults

MAX_ID = 64  # bytes
MAX_TEXT = 1024  # bytes of a name or description
_ID = re.compile(r"[A-Za-z0-9._-]+\Z")
_DOTS = re.compile(r"\.+\Z")
_NOT_ID = re.compile(r"[^A-Za-z0-9._-]+")
_CONTROLS = re.compile(r"[\0-\x08\x0b-\x1f\x7f]")
_ONE_LINE = re.compile(r"[\0-\x1f\x7f]")


def check_id(faults: Faults, value: str, field: str = "id") -> None:
    """An id stands in paths. One of dots alone would be taken out of them by clients (RFC 3986 5.2.4)."""
    check_size(faults, field, value, MAX_ID)
    if not _ID.match(value) or _DOTS.match(value):
        faults.add(Code.INVALID_FORMAT, f"'{field}' must consist of letters, digits and - _ .")


def made_id(name: str, fallback: str) -> str:
    """An id of a name: what stands for itself in a path, the rest as dashes. fallback: where nothing is left."""
    found = _NOT_ID.sub("-", name).strip("-.")[:MAX_ID].strip("-.").lower()
    return found or fallback


def check_size(faults: Faults, field: str, value: str, limit: int) -> None:
    if len(value.encode()) > limit:
        faults.add(Code.INVALID_FORMAT, f"{field} is limited to {limit} bytes")


def check_text(faults: Faults, field: str, value: str | None, limit: int = MAX_TEXT, *, lines: bool = False) -> None:
    """A name or, with lines, a description: no control characters, which no database and no terminal likes."""
    if value is None:
        return
    check_size(faults, field, value, limit)
    if (_CONTROLS if lines else _ONE_LINE).search(value):
        faults.add(Code.INVALID_FORMAT, f"'{field}' must not contain control characters")


def check_shared(faults: Faults, caller: Caller, shared: bool | None) -> None:
    if shared and caller.subaccount != PRIMARY:
        faults.add(Code.INVALID_FORMAT, "'shared_with_subaccounts' can be true for the primary account's only")


def require_own(caller: Caller, subaccount: int, what: str) -> None:
    """What is shared may be used and read by all, and changed by its owner. Raises Failure."""
    if caller.subaccount != subaccount:
        raise Failure(Code.FORBIDDEN, f"{what} is shared by the primary account: only it can change it")


def moment_text(milliseconds: int) -> str:
    """2024-02-01T08:00:00+00:00 (api.md 1.11)."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat()


def moment_text_exact(milliseconds: int) -> str:
    """2024-02-01T08:00:00.000Z, as snippets have it."""
    found = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return found.removesuffix("+00:00") + "Z"
