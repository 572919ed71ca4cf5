"""What engines see of templates and their kin: the names of the kinds, and the plan of an A/B test. No SQLAlchemy."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

TEMPLATE = "template"
SNIPPET = "snippet"
RECIPIENT_LIST = "recipient-list"
AB_TEST = "ab-test"
SENDING_DOMAIN = "sending-domain"
ACCOUNT = "account"


class Plan(msgspec.Struct, frozen=True):
    """What engines see. default: the template of all who are not in the test; shares: (template, weight) of those that
    are tried, the default among them. starts, ends: milliseconds since 1970."""

    version: int
    default: str
    shares: list[tuple[str, float]]
    starts: int
    ends: int

    def chosen(self, recipient: str, now: int) -> str:
        """The id of the template that this recipient gets: the same each time, by the share of each template in all
        recipients. Before and after the test: the default."""
        if not self.starts <= now < self.ends:
            return self.default
        digest = blake2b(f"{self.version} {recipient.lower()}".encode(errors="replace"), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64 * sum(weight for _, weight in self.shares)
        for template, weight in self.shares:
            place -= weight
            if place < 0:
                return template
        return self.default
