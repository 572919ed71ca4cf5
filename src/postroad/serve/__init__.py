"""The processes: what runs together, and in which order it starts and stops."""
