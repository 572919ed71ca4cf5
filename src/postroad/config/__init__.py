"""Ground: options in immutable generations."""
