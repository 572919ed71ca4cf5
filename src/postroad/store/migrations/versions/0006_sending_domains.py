"""Sending domains."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_sending_domains"
down_revision: str | None = "0005_keys"


def upgrade() -> None:
    op.create_table(
        "sending_domains",
        sa.Column("id", sa.String(253), primary_key=True),
        sa.Column("subaccount", sa.Integer, nullable=False),
        sa.Column("shared", sa.Boolean, nullable=False),
        sa.Column("selector", sa.String(63), nullable=False),
        sa.Column("signing_domain", sa.String(253), nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("public", sa.Text, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("dkim_status", sa.String(12), nullable=False),
        sa.Column("cname_status", sa.String(12), nullable=False),
        sa.Column("mx_status", sa.String(12), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
    )
    op.create_index(op.f("ix_sending_domains_subaccount"), "sending_domains", ["subaccount"])
