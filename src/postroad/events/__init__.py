"""11 Tell: the one event schema and the hose."""
