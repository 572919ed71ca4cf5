"""What a driver raised, in our own words."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from postroad.store.errors import Conflict, StoreAway, StoreBusy, StoreDamaged, StoreError, StoreFull

_SQLITE: dict[int, type[StoreError]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_BUSY: StoreBusy,
    sqlite3.SQLITE_LOCKED: StoreBusy,
    sqlite3.SQLITE_IOERR: StoreAway,
    sqlite3.SQLITE_CANTOPEN: StoreAway,
    sqlite3.SQLITE_READONLY: StoreAway,
    sqlite3.SQLITE_CORRUPT: StoreDamaged,
    sqlite3.SQLITE_NOTADB: StoreDamaged,
}
# PostgreSQL's SQLSTATE: whole codes, then classes (the first two characters).
_STATES: dict[str, type[StoreError]] = {
    "53100": StoreFull,
    "55P03": StoreBusy,
    "57014": StoreBusy,
    "40001": StoreBusy,
    "40P01": StoreBusy,
    "08": StoreAway,
    "28": StoreAway,
    "3D": StoreAway,
    "53": StoreAway,
    "57": StoreAway,
    "58": StoreAway,
    "25006": StoreAway,
    "XX": StoreDamaged,
}


def translated(error: Exception) -> StoreError | Conflict | None:
    """None: it is a fault of ours (a statement that is wrong), not of the store."""
    if isinstance(error, IntegrityError):
        return Conflict(str(error.orig))
    if isinstance(error, (PoolTimeout, ConnectionError, TimeoutError)):
        return StoreAway(f"the database does not answer: {error or type(error).__name__}")
    cause: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
    kind = _kind(cause)
    if kind is not None:
        return kind(f"the database says: {cause}")
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return StoreAway(f"the database hung up: {cause}")
    if isinstance(error, OSError):
        return StoreAway(f"the database can't be reached: {error}")
    return None


def _kind(cause: BaseException | None) -> type[StoreError] | None:
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        return None if code is None else _SQLITE.get(code & 0xFF)  # what is above says more, not something else
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return _STATES.get(state) or _STATES.get(state[:2])
    return None
