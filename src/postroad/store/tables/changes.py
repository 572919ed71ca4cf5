"""The outbox: what changed, in the order of commits. The catalog is made from it; values stay where they are."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, Text

from postroad.store.tables.base import Counter, metadata, moment, subaccount_column

changes = Table(
    "changes",
    metadata,
    Column("seq", Counter, primary_key=True, autoincrement=True),
    Column("kind", String(40), nullable=False),
    subaccount_column(),
    Column("key", Text, nullable=False),
    moment("at"),
    sqlite_autoincrement=True,  # a number is never given twice, even after the rows were trimmed
)

# One row: which database this is. A catalog of another database is of no use.
identity = Table("identity", metadata, Column("id", String(32), primary_key=True))
