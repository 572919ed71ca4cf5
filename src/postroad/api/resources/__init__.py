"""The resources of the management API, a module a noun, each with `routes(office)`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from postroad.api.description import describing
from postroad.api.office import Office
from postroad.api.route import Route


def all_routes(office: Office) -> list[Route[Any, Any]]:
    """Of every module here, in the order of their names: who adds one need not say so anywhere. And what describes
    them."""
    found: list[Route[Any, Any]] = []
    for module in sorted(each.name for each in iter_modules(__path__)):
        found += import_module(f"{__name__}.{module}").routes(office)
    return found + describing(found)
