"""Mail that came by SMTP with tracked links, pixels and inlined CSS, where its account or its X-MSYS-API field wants
that (api.md 18.5). What its client signed or encrypted stays as it came, and so does what can't be read."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from postroad.generate import (
    BuildError,
    BuildErrors,
    Filling,
    Raw,
    Site,
    Wishes,
    carried,
    inline_css,
    trackers,
)
from postroad.generate.template import TemplateRenderError
from postroad.message import Body, IdSource, Recipient, Transaction
from postroad.message.header import field, header_end
from postroad.message.links import About
from postroad.message.together import part

_PGP = b"-----BEGIN PGP "  # RFC 4880 6.2: signed or encrypted in the text itself


class Sites(Protocol):
    def site(self, subaccount: int, sending_domain: str) -> Site | None: ...


class Wanted(NamedTuple):
    """Of one message. css: are style rules to be inlined?"""

    wishes: Wishes
    css: bool = False

    def __bool__(self) -> bool:
        return self.css or self.wishes.clicks or self.wishes.opens or self.wishes.initial


def tracked(given: Transaction, wanted: Wanted, sites: Sites, ids: IdSource, wall: float) -> list[Transaction]:
    """The same for each recipient, in their order; one transaction for all where their copies are equal. wall: Unix
    seconds. archive copies have the links of the first recipient (api.md 18.4)."""
    content = given.body.content
    if not wanted or _PGP in content:
        return [given]
    try:
        raw = Raw(content, substitute=None, finish=inline_css if wanted.css else None)
        subaccount = int(given.connection.get("subaccount_id", "0"))
        site = sites.site(subaccount, raw.sender.rpartition("@")[2]) if raw.tracked else None
        if site is None:
            if not wanted.css:
                return [given]
            letter = raw.letter(Filling())
            return [part(given, given.recipients, given.id, body=Body(letter.content, given.body.trace))]
        wishes = wanted.wishes
        if field(content, b"List-Unsubscribe", header_end(content)) is not None:
            wishes = wishes._replace(unsubscribe=False)  # its client wants to hear of that himself
        event = given.event | {
            "open_tracking": wishes.opens,
            "click_tracking": wishes.clicks,
            "initial_pixel": wishes.initial,
        }
        made: list[Transaction] = []
        for recipient in given.recipients:
            number = (not made and given.id) or ids.next()
            if made and (recipient.event or {}).get("rcpt_type") == "archive":
                body = made[0].body
            else:
                about = _about(given, recipient, number, wall, subaccount, raw.sender)
                found = trackers(site, about, wishes)
                letter = raw.letter(Filling(track=found.track, top=found.top, bottom=found.bottom))
                body = Body(letter.content, given.body.trace + found.unsubscribe)
            made.append(part(given, [recipient], number, body=body, event=event))
        return made
    except (BuildError, BuildErrors, TemplateRenderError, ValueError):
        return [given]


def _about(given: Transaction, recipient: Recipient, number: int, wall: float, subaccount: int, author: str) -> About:
    event = recipient.event or {}
    tags = event.get("rcpt_tags")
    return About(
        str(number),
        str(given.event.get("transmission_id", "")),
        recipient.address,
        int(wall),
        subaccount,
        campaign=str(given.event.get("campaign_id", "")),
        sender=author,
        metadata=carried(event.get("rcpt_meta")),
        tags=tags if isinstance(tags, list) else [],
    )
