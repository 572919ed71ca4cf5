"""The kinds of the catalog. Add yours; an engine that does not know a kind skips its records."""

from __future__ import annotations

from postroad.store import suppressionlist
from postroad.store.kind import Kind

KINDS: tuple[Kind, ...] = (suppressionlist.SEEN,)
