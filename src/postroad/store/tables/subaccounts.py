"""Subaccounts (api.md 20.1). They are never deleted: what they sent keeps their number."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, Text

from postroad.store.tables.base import Json, metadata, moment, subaccount_column

subaccounts = Table(
    "subaccounts",
    metadata,
    subaccount_column(primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("status", String(12), nullable=False),
    Column("ip_pool", String(20), nullable=False),
    Column("options", Json, nullable=False),
    moment("created"),
    moment("updated"),
)
