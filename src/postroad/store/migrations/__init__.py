"""The steps from one schema to the next (Alembic). A step that has been released is never edited."""
