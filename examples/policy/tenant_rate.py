"""A limit of messages for each tenant (the user of AUTH, or the label of the API key), as a token bucket.

    [[policy]]
    file = "tenant_rate.py"
    options = { per_hour = 1000, burst = 100, tenants = { big = 100000 } }

Buckets live as long as this generation of the configuration, in each engine for itself. Who has no name has no limit
here.
"""

import msgspec

from postroad.policy import Incoming, Kit, OneRecipient, Tempfail

MAX_TENANTS = 10_000  # that are remembered; a full bucket is as good as none


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """per_hour: recipients; burst: how many at once; tenants: their own `per_hour`, by name."""

    per_hour: float
    burst: float = 100
    tenants: dict[str, float] = {}


class Policy:
    def __init__(self, kit: Kit) -> None:
        self._options: Options = kit.options
        self._clock = kit.clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tenant: (tokens, when they were counted)

    def message(self, facts: Incoming) -> Tempfail | None:
        """By SMTP: all recipients at once, so that none is taken twice when the client comes again."""
        return self._take(facts.session.user, len(facts.recipients))

    def generated(self, facts: OneRecipient) -> Tempfail | None:
        return self._take(facts.session.user, 1)

    def _take(self, tenant: str, number: int) -> Tempfail | None:
        if not tenant:
            return None
        options, now = self._options, self._clock.wall()
        rate = options.tenants.get(tenant, options.per_hour) / 3600
        tokens, since = self._buckets.get(tenant, (options.burst, now))
        tokens = min(options.burst, tokens + max(0.0, now - since) * rate)
        # More at once than the bucket holds goes when it is full, and leaves a debt.
        if tokens < min(number, options.burst):
            return Tempfail("4.7.1 your limit of messages is used up; try again later", 451)
        self._buckets[tenant] = (tokens - number, now)
        if len(self._buckets) > MAX_TENANTS:
            self._forget(now)
        return None

    def _forget(self, now: float) -> None:
        """Those whose bucket is full again; if that is not enough, the half that was seen least lately."""
        options = self._options

        def full(tenant: str, tokens: float, since: float) -> bool:
            rate = options.tenants.get(tenant, options.per_hour) / 3600
            return tokens + (now - since) * rate >= options.burst

        kept = {tenant: bucket for tenant, bucket in self._buckets.items() if not full(tenant, *bucket)}
        if len(kept) > MAX_TENANTS // 2:
            latest = sorted(kept, key=lambda tenant: kept[tenant][1])[-MAX_TENANTS // 2 :]
            kept = {tenant: kept[tenant] for tenant in latest}
        self._buckets = kept
