"""Who must not be sent to, and why (api.md 8.2)."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, String, Table, Text

from postroad.store.tables.base import Json, metadata, moment, subaccount_column

suppressions = Table(
    "suppressions",
    metadata,
    subaccount_column(primary_key=True, autoincrement=False),
    Column("recipient", String(330), primary_key=True),  # lower case, the domain in A-labels
    Column("transactional", Boolean, primary_key=True),  # from which kind of mail; else from all other mail
    Column("list_id", String(255), primary_key=True),  # "": whatever list the mail is of
    Column("domain", String(255), nullable=False),
    Column("source", String(20), nullable=False),
    Column("description", Text, nullable=False),
    Column("evidence", Json),  # which event, which reply, which rule
    moment("created"),
    moment("updated"),
    moment("expires", nullable=True),
    Index("ix_suppressions_order", "updated", "subaccount", "recipient"),
    Index("ix_suppressions_domain", "domain"),
    Index("ix_suppressions_expires", "expires"),
)
