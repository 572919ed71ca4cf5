"""Subaccounts and API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from postroad.store.tables import Json

revision = "0005_keys"
down_revision: str | None = "0004_templates"


def upgrade() -> None:
    op.create_table(
        "subaccounts",
        sa.Column("subaccount", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("ip_pool", sa.String(20), nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("subaccount", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("short_key", sa.String(4), nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("grants", Json, nullable=False),
        sa.Column("networks", Json, nullable=False),
        sa.Column("rate", sa.Float, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("sha256", name=op.f("uq_keys_sha256")),
    )
    op.create_index(op.f("ix_keys_subaccount"), "keys", ["subaccount"])
