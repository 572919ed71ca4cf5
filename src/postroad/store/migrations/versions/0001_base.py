"""The outbox, and which database this is."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

from postroad.store.tables import Counter

revision = "0001_base"
down_revision: str | None = None


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("seq", Counter, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subaccount", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    identity = op.create_table("identity", sa.Column("id", sa.String(32), primary_key=True))
    op.bulk_insert(identity, [{"id": uuid.uuid4().hex}])
