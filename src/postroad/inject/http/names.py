"""Names of the data that templates see (api.md 4.3)."""

from __future__ import annotations

from collections.abc import Iterable

from postroad.generate.template.syntax import KEYWORDS


def name_problem(member: str, names: Iterable[str]) -> str | None:
    """What is wrong with the first of these names of a member (`metadata`, `substitution_data`) that no template could
    use; None: nothing. Names further inside may be anything: a['odd-key'] finds them."""
    for name in names:
        if not (name.isascii() and name.isidentifier()):
            return f"{member}: '{name[:64]}' is no name; it may have ASCII letters, digits and _, and no digit first"
        if name in KEYWORDS and member == "substitution_data":
            return f"{member}: '{name}' is a word of the template language"
    return None
