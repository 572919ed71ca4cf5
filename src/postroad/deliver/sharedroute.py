"""Where the mail of several domains goes that are delivered together."""

from __future__ import annotations

from collections.abc import Callable

from postroad.deliver.means import Means
from postroad.deliver.route import Route
from postroad.deliver.steps import Result
from postroad.deliver.sts import StsPolicy
from postroad.shaping import Allowance


class SharedRoute(Route):
    """Each of the domains looks itself up, and `adopt` takes over what it found, as long as it is alike. reports(): the
    route of a domain in whose report a session is to be counted."""

    def __init__(
        self,
        means: Means,
        allowance: Allowance,
        name: str,
        changed: Callable[[Result | None], None],
        reports: Callable[[], Route],
    ) -> None:
        super().__init__(means, allowance, name, changed)
        self._reports = reports

    def fresh(self) -> bool:
        return True

    def expire(self) -> None:
        """Its domains see to that."""

    def adopt(self, other: Route) -> None:
        self.port = other.port
        self._targets, self._tls, self._policies = other._targets, other._tls, other._policies
        self._credential = other._credential

    def reported(self) -> tuple[str, StsPolicy | None]:
        return self._reports().reported()
