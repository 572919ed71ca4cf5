"""Header fields put right on the way in: internal ones out, an unsubscribe link in, a mark on mail from outside.

[[policy]]
file = "rewrite_headers.py"
options = { remove = ["X-Originating-IP"], unsubscribe = "https://example.com/u/{recipient}", own = ["example.com"] }
"""

from urllib.parse import quote

import msgspec

from postroad.policy import Incoming, Kit, OneRecipient


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """remove: names of fields. unsubscribe: "" for none; {recipient} stands for the address. own: our domains; mail to
    them from others gets `mark` in front of its subject."""

    remove: list[str] = []
    unsubscribe: str = ""
    own: list[str] = []
    mark: str = "[external]"


class Policy:
    def __init__(self, kit: Kit) -> None:
        self._options: Options = kit.options
        self._own = frozenset(domain.lower() for domain in self._options.own)

    def message(self, facts: Incoming) -> None:
        """Once for all recipients: their messages stay one body."""
        for name in self._options.remove:
            facts.content.remove(name)

    def each_recipient(self, facts: OneRecipient) -> None:
        self._edit(facts)

    def generated(self, facts: OneRecipient) -> None:
        self._edit(facts)

    def _edit(self, facts: OneRecipient) -> None:
        options, content = self._options, facts.content
        if facts.domain in self._own:
            sender_domain = facts.sender.rpartition("@")[2].lower()
            subject = content.get("Subject") or ""
            if sender_domain not in self._own and not subject.startswith(options.mark):
                content.set("Subject", f"{options.mark} {subject}")
        elif options.unsubscribe and content.get("List-Unsubscribe") is None:
            # The address is what a stranger wrote: quoted, it can't leave its place in the link.
            link = options.unsubscribe.replace("{recipient}", quote(facts.recipient, safe="@"))
            content.set("List-Unsubscribe", f"<{link}>")
            content.set("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")  # RFC 8058
