"""What a key may do (api.md 20.2): the grant words, and which one a request needs."""

from __future__ import annotations

from collections.abc import Collection

# family of routes -> (grant to read, grant to write); the words are those that clients put into key_grants.
FAMILIES: dict[str, tuple[str, str]] = {
    "transmissions": ("transmissions/view", "transmissions/modify"),
    "templates": ("templates/view", "templates/modify"),
    "snippets": ("templates/view", "templates/modify"),
    "utils": ("templates/preview", "templates/preview"),
    "recipient-lists": ("recipient_lists/manage", "recipient_lists/manage"),
    "suppression-list": ("suppression_lists/manage", "suppression_lists/manage"),
    "events": ("message_events/view", "message_events/view"),
    "message-events": ("message_events/view", "message_events/view"),
    "metrics": ("metrics/view", "metrics/view"),
    "webhooks": ("webhooks/view", "webhooks/modify"),
    "relay-webhooks": ("relay_webhooks/view", "relay_webhooks/modify"),
    "sending-domains": ("sending_domains/view", "sending_domains/manage"),
    "bounce-domains": ("sending_domains/view", "sending_domains/manage"),
    "tracking-domains": ("tracking_domains/view", "tracking_domains/manage"),
    "inbound-domains": ("inbound_domains/manage", "inbound_domains/manage"),
    "ip-pools": ("ip_pools/manage", "ip_pools/manage"),
    "sending-ips": ("ip_pools/manage", "ip_pools/manage"),
    "subaccounts": ("subaccount/view", "subaccount/manage"),
    "ab-test": ("ab-testing/manage", "ab-testing/manage"),
    "account": ("account/manage", "account/manage"),
    "usage": ("account/manage", "account/manage"),
    "recipient-validation": ("recipient_validation/manage", "recipient_validation/manage"),
    "data-privacy": ("data_privacy/manage", "data_privacy/manage"),
    "ingest": ("message_events/ingest", "message_events/ingest"),
}

# What a grant brings with it. The short words are those of keys in the configuration file.
_BRINGS: dict[str, tuple[str, ...]] = {
    "transmissions": ("transmissions/view", "transmissions/modify"),
    "metrics": ("metrics/view",),
    "smtp": ("smtp/inject",),
}
ALL = "admin"  # may everything


def allows(held: Collection[str], needed: str) -> bool:
    """Does a key with these grants have the one that is needed? Who manages something may look at it, too."""
    if needed in held or ALL in held:
        return True
    family, slash, verb = needed.partition("/")
    if slash and verb == "view" and f"{family}/manage" in held:
        return True
    return any(needed in _BRINGS.get(word, ()) for word in held)


def needed(path: str, method: str) -> str:
    """The grant for a path below the base, as in "/templates/{id}". Raises KeyError when the family is unknown."""
    family = path.strip("/").partition("/")[0]
    if path.endswith("/preview"):
        return f"{family}/preview"
    read, write = FAMILIES[family]
    return read if method == "GET" else write
