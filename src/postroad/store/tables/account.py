"""The account itself: its name, and what counts where a transmission does not say."""

from __future__ import annotations

from sqlalchemy import Column, String, Table

from postroad.store.tables.base import Json, metadata, moment, subaccount_column

account = Table(
    "account",
    metadata,
    subaccount_column(primary_key=True, autoincrement=False),  # one row, of the primary account
    Column("company_name", String(255), nullable=False),
    Column("options", Json, nullable=False),  # only those that were set
    moment("created"),
    moment("updated"),
)
