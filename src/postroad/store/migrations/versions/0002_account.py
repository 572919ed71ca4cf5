"""The account's own settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from postroad.store.tables import Json

revision = "0002_account"
down_revision: str | None = "0001_base"


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("subaccount", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("company_name", sa.String(255), nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
    )
