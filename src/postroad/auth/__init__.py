"""Ground: keys and mail authentication."""
