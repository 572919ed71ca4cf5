"""The kinds of the catalog. Add yours; an engine that does not know a kind skips its records."""

from __future__ import annotations

from postroad.store import account, keys, subaccounts, suppressionlist
from postroad.store.abtests import AB_TESTS
from postroad.store.kind import Kind
from postroad.store.recipientlists import RECIPIENT_LISTS
from postroad.store.sendingdomains import SENDING_DOMAINS
from postroad.store.snippets import SNIPPETS
from postroad.store.templates import TEMPLATES

KINDS: tuple[Kind, ...] = (
    account.SEEN,
    keys.SEEN,
    subaccounts.SEEN,
    suppressionlist.SEEN,
    TEMPLATES,
    SNIPPETS,
    RECIPIENT_LISTS,
    AB_TESTS,
    SENDING_DOMAINS,
)
