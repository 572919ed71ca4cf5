"""The commands. Each imports what it needs when it is called, so that `--help` answers at once."""

from __future__ import annotations

from postroad.cli.app import main

__all__ = ["main"]
