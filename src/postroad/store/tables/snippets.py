"""Snippets that templates render (api.md 6)."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, String, Table, Text

from postroad.store.tables.base import metadata, moment, subaccount_column

snippets = Table(
    "snippets",
    metadata,
    subaccount_column(primary_key=True, autoincrement=False),
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("shared", Boolean, nullable=False),  # with all subaccounts; of the primary account's only
    Column("content", Text, nullable=False),  # JSON: the parts by name
    moment("created"),
    moment("updated"),
)
