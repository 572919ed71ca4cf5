"""API keys: of each its hash alone (api.md 1.2, 20)."""

from __future__ import annotations

from sqlalchemy import Column, Float, String, Table, Text

from postroad.store.tables.base import Json, metadata, moment, subaccount_column

# subaccount: 0 is a key of the primary account, which may act for all. sha256: hexadecimal, of 160 random bits, so it
# needs no salt. rate: HTTP requests a second; 0: what the server allows.
keys = Table(
    "keys",
    metadata,
    Column("id", String(12), primary_key=True),
    subaccount_column(index=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("short_key", String(4), nullable=False),
    Column("label", Text, nullable=False),
    Column("grants", Json, nullable=False),
    Column("networks", Json, nullable=False),
    Column("rate", Float, nullable=False),
    moment("created"),
)
