"""Entries of the suppression list as clients, files and commands write them: what is let in, and how it is read."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from postroad.message.address import parse_mailbox
from postroad.store.suppressions import fold

TYPES = ("transactional", "non_transactional")
MAX_DESCRIPTION = 1024  # characters
# RFC 2919: what a List-Id may hold, no dot at an end, no two in a row.
_LIST_ID = re.compile(r"(?!.{256})[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z")
# What no database and no terminal likes; lines are welcome.
_CONTROLS = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class EntryError(ValueError):
    """An entry is none; the message says why, in the words of api.md 8.3 where it has some."""


def folded(address: str) -> str:
    """The form in which addresses are compared. Raises AddressError when it is none."""
    parse_mailbox(address.strip())
    return fold(address)


def is_transactional(kind: str) -> bool:
    if kind not in TYPES:
        raise EntryError("Type must be one of: 'transactional', 'non_transactional'")
    return kind == TYPES[0]


def types_of(kind: str | None, transactional: bool | None, non_transactional: bool | None) -> list[bool]:
    """Of the type, or of the booleans that older clients send; true for transactional."""
    if kind is not None:
        return [is_transactional(kind)]
    wanted = [each for each, given in ((True, transactional), (False, non_transactional)) if given]
    if not wanted:
        raise EntryError("Must supply a suppression type")
    return wanted


def is_list_id(text: str) -> bool:
    return bool(_LIST_ID.match(text))


def check_list_id(text: str | None) -> None:
    if text and not is_list_id(text):
        raise EntryError(f"list_id '{text[:64]}' is invalid")


def check_text(name: str, text: str, limit: int = MAX_DESCRIPTION) -> None:
    if len(text) > limit:
        raise EntryError(f"{name} is limited to {limit} characters")
    if _CONTROLS.search(text):
        raise EntryError(f"{name} must not contain control characters")


def moment(name: str, text: str) -> int:
    """Milliseconds since 1970; UTC where no zone is named."""
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # a "+" in a query string that was not encoded
        found = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise EntryError(f"{name} must be a time: YYYY-MM-DDTHH:MM:SS+HH:MM") from None
    if found < 0:
        raise EntryError(f"{name} must be after 1970")
    return found


def moment_text(milliseconds: int) -> str:
    """2017-10-01T12:00:00+00:00 (api.md 1.11)."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat()
