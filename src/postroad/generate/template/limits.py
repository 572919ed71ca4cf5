"""How much a template may do. All are counts: the same template with the same data always ends the same way, on any
machine and under any load."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """source and tags bind compile(), the others render().

    source: characters of a template. tags: its substitution statements. depth: statements within statements.
    output: characters rendered. loops: iterations of all loops together. steps: parts of expressions, statements and
    iterations worked through; a million take under a second. snippets: calls of render_snippet.
    """

    source: int = 20_000_000
    tags: int = 50_000
    depth: int = 50
    output: int = 20_000_000
    loops: int = 100_000
    steps: int = 1_000_000
    snippets: int = 5


DEFAULT = Limits()
