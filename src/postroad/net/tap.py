"""Listening in on SMTP sessions, in and out: a seam that costs one test of an attribute while nobody does."""

from __future__ import annotations

from typing import Protocol


class Tap(Protocol):
    """Called on the event loop by whoever moves the octets. Must not raise."""

    def passed(self, connection: object, domain: str, peer: str, from_client: bool, data: bytes | memoryview) -> None:
        """Octets of a session passed. connection: tells sessions apart. domain: the routing domain it serves, "" when
        we are the server. peer: the other end's IP address."""

    def over(self, connection: object) -> None:
        """The session is gone."""
