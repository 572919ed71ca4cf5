"""Ground: the relational store."""
