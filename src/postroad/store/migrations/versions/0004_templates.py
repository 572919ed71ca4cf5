"""Templates, snippets, recipient lists, A/B tests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_templates"
down_revision: str | None = "0003_suppressions"


def _whose() -> list[sa.Column[int] | sa.Column[str]]:
    return [
        sa.Column("subaccount", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(64), primary_key=True),
    ]


def upgrade() -> None:
    op.create_table(
        "templates",
        *_whose(),
        sa.Column("shared", sa.Boolean, nullable=False),
        sa.Column("last_version", sa.Integer, nullable=False),
    )
    op.create_table(
        "template_versions",
        *_whose(),
        sa.Column("published", sa.Boolean, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["subaccount", "id"],
            ["templates.subaccount", "templates.id"],
            ondelete="CASCADE",
            name=op.f("fk_template_versions_template"),
        ),
    )
    op.create_table(
        "snippets",
        *_whose(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("shared", sa.Boolean, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "recipient_lists",
        *_whose(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("recipients", sa.Text, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ab_tests",
        *_whose(),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("draft", sa.Boolean, nullable=False),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("starts", sa.BigInteger),
        sa.Column("ends", sa.BigInteger),
        sa.Column("completes", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
    )
