"""4 Keep: the append-only log of mail and events."""
