"""Where the store of a configuration is."""

from __future__ import annotations

from pathlib import Path

from postroad.config.schema import StoreOptions
from postroad.store.database import sqlite_url


def store_url(options: StoreOptions, data_dir: Path) -> str:
    return options.url or sqlite_url(data_dir / "postroad.db")
