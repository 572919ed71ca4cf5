"""How Alembic runs our steps: always on a connection that schema.py has opened, in one transaction."""

from __future__ import annotations

from alembic import context

from postroad.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
    render_as_batch=True,  # SQLite can't alter most things in place
    compare_type=True,
)
context.run_migrations()
