"""A Stock in memory."""

from __future__ import annotations

from postroad.generate import Site
from postroad.generate.template import AMP, HTML, TEXT, Kind, Template, snippet
from postroad.inject.http import Absent, AccountOptions, InlineRecipient, StoredTemplate

PARTS = {Kind.HTML: HTML, Kind.TEXT: TEXT, Kind.AMP: AMP}


class MemoryStock:
    """Everything belongs to subaccount 0. templates: by (id, is it the draft?). wanted_not: suppressed addresses, each
    with whether it is for transactional mail."""

    def __init__(self) -> None:
        self.templates: dict[tuple[str, bool], StoredTemplate] = {}
        self.snippets: dict[str, str] = {}
        self.tests: dict[str, str] = {}
        self.lists: dict[str, list[str | InlineRecipient]] = {}
        self.wanted_not: set[tuple[str, bool, str]] = set()
        self.sites: dict[str, Site] = {}
        self.options = AccountOptions()

    def template(self, subaccount: int, identifier: str, *, draft: bool) -> StoredTemplate | Absent:
        found = self.templates.get((identifier, draft))
        if found is not None and not subaccount:
            return found
        if subaccount or (identifier, not draft) not in self.templates:
            return Absent.UNKNOWN
        return Absent.NO_DRAFT if draft else Absent.NO_PUBLISHED

    def snippet(self, subaccount: int, identifier: str, kind: Kind) -> Template | None:
        source = self.snippets.get(identifier)
        return None if source is None or kind not in PARTS else snippet(source, PARTS[kind])

    def ab_test(self, subaccount: int, identifier: str, recipient: str) -> str | None:
        return self.tests.get(identifier)

    def recipients(self, subaccount: int, identifier: str) -> list[str | InlineRecipient] | None:
        return self.lists.get(identifier)

    def suppressed(self, subaccount: int, address: str, *, transactional: bool, now: float, list_id: str = "") -> bool:
        return any((address, transactional, each) in self.wanted_not for each in ("", list_id))

    def site(self, subaccount: int, sending_domain: str) -> Site | None:
        return self.sites.get(sending_domain)

    def tracking_domain(self, subaccount: int, domain: str) -> Site | None:
        return self.sites.get(domain)

    def account(self) -> AccountOptions:
        return self.options
