"""What is checked of a transmission as a whole before anything is made of it (api.md 2.2 to 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from postroad.inject.http.content import address_problem
from postroad.inject.http.faults import Code, Faults
from postroad.inject.http.names import name_problem
from postroad.inject.http.shapes import (
    MAX_CAMPAIGN,
    MAX_DESCRIPTION,
    MAX_METADATA,
    MAX_SUBSTITUTION_DATA,
    InlineRecipient,
    Options,
    StoredList,
    Transmission,
)

POOLS = frozenset({"default", "sp_shared"})  # names for mail that takes what there is
_encode = msgspec.json.Encoder().encode


def check_limits(transmission: Transmission, faults: Faults) -> None:
    for name, text, limit in (
        ("campaign_id", transmission.campaign_id, MAX_CAMPAIGN),
        ("description", transmission.description, MAX_DESCRIPTION),
    ):
        if text is not None and len(text.encode(errors="replace")) > limit:
            faults.add(Code.INVALID_FORMAT, f"{name} is limited to {limit} bytes")
    if transmission.metadata and len(_encode(transmission.metadata)) > MAX_METADATA:
        faults.add(Code.METADATA_TOO_LARGE, f"metadata is limited to {MAX_METADATA} bytes")
    if transmission.substitution_data and len(_encode(transmission.substitution_data)) > MAX_SUBSTITUTION_DATA:
        faults.add(Code.SUBSTITUTION_TOO_LARGE, f"substitution_data is limited to {MAX_SUBSTITUTION_DATA} bytes")
    for name, data in (("metadata", transmission.metadata), ("substitution_data", transmission.substitution_data)):
        problem = name_problem(name, data) if data else None
        if problem is not None:
            faults.add(Code.INVALID_FORMAT, problem)
    if transmission.return_path:
        wrong = address_problem(transmission.return_path)
        if wrong is not None:
            faults.add(wrong[0], f"return_path: {wrong[1]}")


def check_options(
    options: Options, wall: float, max_ahead: float, is_pool: Callable[[str], bool], faults: Faults
) -> float:
    """When to start, Unix seconds; 0: now."""
    start = options.start_time
    begin = 0.0
    if start is not None and start != "now":
        try:
            moment = datetime.fromisoformat(start)
            if moment.tzinfo is None:
                raise ValueError
            begin = moment.timestamp() if moment.timestamp() > wall else 0.0
            if begin > wall + max_ahead:
                text = f"options.start_time may be {max_ahead:.0f} seconds ahead"
                faults.add(Code.INVALID_FORMAT, text)
        except (ValueError, OverflowError):
            faults.add(Code.INVALID_FORMAT, "options.start_time must be YYYY-MM-DDTHH:MM:SS+-HH:MM or now")
    pool = options.ip_pool
    if pool and pool.lower() not in POOLS and not is_pool(pool):
        faults.add(Code.INVALID_PARAMS, f"options.ip_pool '{pool[:64]}' does not exist")
    return begin


def check_recipients(
    transmission: Transmission,
    stored: Callable[[str], list[str | InlineRecipient] | None],
    limit: int,
    faults: Faults,
) -> list[str | InlineRecipient]:
    """Those of the request, or of the list that it names. stored(id): of a list; None: there is none."""
    recipients = transmission.recipients
    if isinstance(recipients, StoredList):
        if recipients.list_id is not None:
            found = stored(recipients.list_id)
            if found is None:
                name = recipients.list_id[:64]
                faults.add(Code.NO_SUBRESOURCE, f"recipient list '{name}' does not exist")
                return []
            return found
        recipients = None
    if recipients is None:
        faults.add(Code.MISSING_FIELD, "recipients or list_id required")
        return []
    if not recipients:
        faults.add(Code.NO_RECIPIENT, "recipients is empty")
    elif len(recipients) > limit:
        faults.add(Code.INVALID_FORMAT, f"recipients is limited to {limit} entries")
    return recipients
