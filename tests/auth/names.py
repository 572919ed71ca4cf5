"""DNS from a table, for those who ask about policies and keys."""

from __future__ import annotations

from collections.abc import Mapping

from postroad.net import DnsFailure


class Table:
    """name: its TXT records; None stands for a server that does not answer. `asked` keeps the questions."""

    def __init__(self, texts: Mapping[str, list[bytes] | None]) -> None:
        self._texts = texts
        self.asked: list[str] = []

    async def txt(self, name: str) -> list[bytes]:
        self.asked.append(name)
        found = self._texts.get(name.lower(), [])
        if found is None:
            raise DnsFailure("no answer")
        return found
