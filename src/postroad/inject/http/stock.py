"""What a transmission may name instead of bringing it: templates, snippets, A/B tests, recipient lists, suppressions,
the place of tracked links. Declared here, where it is needed; the catalog of an engine implements it, and `Nothing` is
what an engine without one has."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from msgspec import Struct

from postroad.generate import Site
from postroad.generate.template import Kind, Template
from postroad.inject.http.shapes import InlineRecipient, Tracking, TransmissionContent


class StoredTemplate(NamedTuple):
    """One version of a template (api.md 3.2). version: counts up with each edit. transactional: its own option."""

    id: str
    version: int
    content: TransmissionContent
    options: Tracking | None = None
    transactional: bool | None = None


class Absent(Enum):
    """Why there is no such version of a template."""

    UNKNOWN = "unknown"
    NO_DRAFT = "no draft"
    NO_PUBLISHED = "no published version"


class AccountOptions(Struct, frozen=True):
    """What the account has set for all its mail (api.md 21), by the names of the API.

    rest_tracking_default, smtp_tracking_default: are opens and clicks tracked where nothing is said, of HTTP and of
    SMTP mail? click_tracking: False wins over every wish. transactional_unsub: does transactional mail get a
    List-Unsubscribe?
    """

    rest_tracking_default: bool = True
    smtp_tracking_default: bool = False
    click_tracking: bool = True
    initial_open_pixel_tracking: bool = True
    transactional_default: bool = False
    transactional_unsub: bool = False

    def tracking(self, *wishes: Tracking | None, default: bool) -> dict[str, bool]:
        """Members of events about tracking; an earlier wish wins over a later one, then what the account says
        (api.md 2.3). default: where nothing is said."""
        given = [each for each in wishes if each is not None]
        opens = next((each.open_tracking for each in given if each.open_tracking is not None), default)
        clicks = next((each.click_tracking for each in given if each.click_tracking is not None), default)
        first = opens and self.initial_open_pixel_tracking
        initial = next((each.initial_open for each in given if each.initial_open is not None), first)
        return {"open_tracking": opens, "click_tracking": clicks and self.click_tracking, "initial_pixel": initial}


DEFAULTS = AccountOptions()


class Stock(Protocol):
    """All calls are answered from memory or a file beside it, at once; none raises. subaccount: whose transmission it
    is; nobody else's private objects are found."""

    def template(self, subaccount: int, identifier: str, *, draft: bool) -> StoredTemplate | Absent: ...

    def snippet(self, subaccount: int, identifier: str, kind: Kind) -> Template | None:
        """Compiled; None: there is none, or it lacks this part."""

    def ab_test(self, subaccount: int, identifier: str, recipient: str) -> str | None:
        """The id of the template that this recipient gets; None: there is no such test."""

    def recipients(self, subaccount: int, identifier: str) -> list[str | InlineRecipient] | None:
        """Those of a stored list; None: there is none."""

    def suppressed(
        self, subaccount: int, address: str, *, transactional: bool, now: float, list_id: str = ""
    ) -> bool: ...

    def site(self, subaccount: int, sending_domain: str) -> Site | None:
        """Where tracked links of mail from this domain lead; None: links stay as they are (api.md 10.2)."""

    def tracking_domain(self, subaccount: int, domain: str) -> Site | None:
        """As site, for a tracking domain that the transmission names; None: it is not this account's, or not
        verified."""

    def account(self) -> AccountOptions: ...


class Nothing:
    """A Stock that holds nothing."""

    def template(self, subaccount: int, identifier: str, *, draft: bool) -> StoredTemplate | Absent:
        return Absent.UNKNOWN

    def snippet(self, subaccount: int, identifier: str, kind: Kind) -> Template | None:
        return None

    def ab_test(self, subaccount: int, identifier: str, recipient: str) -> str | None:
        return None

    def recipients(self, subaccount: int, identifier: str) -> list[str | InlineRecipient] | None:
        return None

    def suppressed(self, subaccount: int, address: str, *, transactional: bool, now: float, list_id: str = "") -> bool:
        return False

    def site(self, subaccount: int, sending_domain: str) -> Site | None:
        return None

    def tracking_domain(self, subaccount: int, domain: str) -> Site | None:
        return None

    def account(self) -> AccountOptions:
        return DEFAULTS
