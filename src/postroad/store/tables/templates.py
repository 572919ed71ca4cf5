"""Stored templates (api.md 3): the object, and its one or two versions."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKeyConstraint, Integer, String, Table, Text

from postroad.store.tables.base import metadata, moment, subaccount_column

templates = Table(
    "templates",
    metadata,
    subaccount_column(primary_key=True, autoincrement=False),
    Column("id", String(64), primary_key=True),
    Column("shared", Boolean, nullable=False),  # with all subaccounts; of the primary account's only
    Column("last_version", Integer, nullable=False),  # counts up with each change of a version
)

template_versions = Table(
    "template_versions",
    metadata,
    subaccount_column(primary_key=True, autoincrement=False),
    Column("id", String(64), primary_key=True),
    Column("published", Boolean, primary_key=True),  # else the draft
    Column("version", Integer, nullable=False),  # templates.last_version when it was written
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    # JSON as text: JSONB knows neither the order of members nor \u0000.
    Column("options", Text, nullable=False),
    Column("content", Text, nullable=False),
    moment("updated"),
    ForeignKeyConstraint(
        ["subaccount", "id"],
        ["templates.subaccount", "templates.id"],
        ondelete="CASCADE",
        name="fk_template_versions_template",
    ),
)
