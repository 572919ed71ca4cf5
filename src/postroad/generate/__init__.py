"""2 Generate: build messages from content and recipients."""
