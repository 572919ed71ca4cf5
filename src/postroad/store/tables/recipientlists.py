"""Stored recipient lists (api.md 5)."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table, Text

from postroad.store.tables.base import metadata, moment, subaccount_column

recipient_lists = Table(
    "recipient_lists",
    metadata,
    subaccount_column(primary_key=True, autoincrement=False),
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("attributes", Text, nullable=False),  # JSON
    Column("total", Integer, nullable=False),
    Column("recipients", Text, nullable=False),  # JSON: the valid ones, as they were given
    moment("updated"),
)
