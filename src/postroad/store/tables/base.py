"""What all tables share: one MetaData, names of constraints, and the kinds of column that both databases have."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Integer, MetaData
from sqlalchemy.dialects.postgresql import JSONB

# Constraints have names, so that a later migration can drop them on either database.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# A JSON document as it was given: an object's members keep their order on SQLite, not on PostgreSQL.
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

# A whole number that counts up by itself and is never given twice: only INTEGER does that on SQLite.
Counter = BigInteger().with_variant(Integer(), "sqlite")

MASTER = 0  # the primary account (api.md 1.9)


def subaccount_column(**options: Any) -> Column[int]:
    """Whose row it is; 0 is the primary account. Every table has one, mostly in its primary key."""
    return Column("subaccount", Integer, nullable=False, **options)


def moment(name: str, *, nullable: bool = False, index: bool = False) -> Column[int]:
    """A time as whole milliseconds since 1970, UTC: the same on both databases, and no time zones."""
    return Column(name, BigInteger, nullable=nullable, index=index)
