"""What can go wrong with the relational store. Every text is fit for the operator; a caller of the API gets 503."""

from __future__ import annotations


class StoreError(Exception):
    """The store can't do it now. retry_after: seconds until it is worth another try; for the header of a 503."""

    retry_after = 5


class StoreFull(StoreError):
    """No room on the disk; nothing was written."""

    retry_after = 60


class StoreBusy(StoreError):
    """Another writer held the store for longer than we wait; nothing was written."""

    retry_after = 1


class StoreAway(StoreError):
    """The database server can't be reached, or is starting or stopping; whether the last commit counts is unknown."""

    retry_after = 5


class StoreDamaged(StoreError):
    """The database file is not readable as one."""

    retry_after = 300


class Untold(StoreError):
    """It is written, but the engines could not be told yet; they will be. The same request again is harmless."""

    retry_after = 2


class Conflict(Exception):
    """A row like that is there already, or another row stands in the way. Not a fault of the store: 409 or 400."""


class SchemaError(Exception):
    """The schema is not one that this version can use: too new, or an upgrade failed. The text says what to do."""
