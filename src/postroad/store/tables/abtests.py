"""A/B tests of templates (api.md 7): each version of each test."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, String, Table, Text

from postroad.store.tables.base import metadata, moment, subaccount_column

ab_tests = Table(
    "ab_tests",
    metadata,
    subaccount_column(primary_key=True, autoincrement=False),
    Column("id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("draft", Boolean, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("settings", Text, nullable=False),  # JSON: what the client said, defaults filled in
    moment("starts", nullable=True),
    moment("ends", nullable=True),
    moment("completes", nullable=True),
    moment("created"),
    moment("updated"),
)
