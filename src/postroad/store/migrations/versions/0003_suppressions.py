"""The suppression list."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from postroad.store.tables import Json

revision = "0003_suppressions"
down_revision: str | None = "0002_account"


def upgrade() -> None:
    op.create_table(
        "suppressions",
        sa.Column("subaccount", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("recipient", sa.String(330), primary_key=True),
        sa.Column("transactional", sa.Boolean, primary_key=True),
        sa.Column("list_id", sa.String(255), primary_key=True),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("evidence", Json),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger),
    )
    op.create_index("ix_suppressions_order", "suppressions", ["updated", "subaccount", "recipient"])
    op.create_index("ix_suppressions_domain", "suppressions", ["domain"])
    op.create_index("ix_suppressions_expires", "suppressions", ["expires"])
