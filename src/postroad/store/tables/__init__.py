"""The tables, a module a noun, all on one MetaData. A module put here is found by itself."""

from __future__ import annotations

import importlib
import pkgutil

from postroad.store.tables.base import MASTER, Counter, Json, metadata, moment, subaccount_column

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["MASTER", "Counter", "Json", "metadata", "moment", "subaccount_column"]
