"""What transmissions that are not generated yet still need may not go, or change under them (api.md 3.3, 5)."""

from __future__ import annotations

from postroad.api.office import Office
from postroad.inject.http import Code, Failure

_AWAY = "some of the server's engines do not answer just now; ask again in some seconds"


async def require_unused(office: Office, kind: str, key: str, subaccount: int | None, what: str) -> None:
    """kind: as the catalog's. subaccount: whose transmissions might mean it; None: everybody's. what: as in `List 'x'`.
    Raises Failure: 409, or 503 while an engine can't be asked."""
    if office.ask is None:  # no engines
        return
    told = await office.ask("transmissions_using", {"kind": kind, "key": key, "subaccount": subaccount}, "")
    if told.missing:
        raise Failure(Code.RESOURCES_UNAVAILABLE, _AWAY, headers={"Retry-After": "5"})
    for error in told.refused.values():
        raise Failure(Code.INVALID_PARAMS, str(error))
    if any(told.answers.values()):
        raise Failure(Code.CONFLICT, f"{what} is in use by msg generation")
