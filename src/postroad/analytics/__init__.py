"""12 Know: metrics and event search."""
