"""A simulated mailbox provider: an SMTP receiver on one loopback address that behaves by rules."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections import Counter
from collections.abc import Iterable, Sequence

from postroad.lab.ledger import Ledger
from postroad.lab.receiver import Receiver
from postroad.lab.rules import Rule, RuleBook

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")

_MAX_SESSIONS = 5000
_SWEEP = 10.0


class Provider:
    """Serves some domains on one address. Everything happens on the event loop that ran `start`.

    domains: those it takes mail for, ".x.test" with every subdomain; none: it takes everything.
    extensions: what EHLO offers besides SIZE; leave words out to see a client go without them.
    """

    def __init__(
        self,
        name: str,
        domains: Iterable[str] = (),
        *,
        address: str = "127.0.0.1",
        rules: Iterable[Rule] = (),
        rng: random.Random,
        ledger: Ledger,
        extensions: Sequence[str] = EXTENSIONS,
        max_size: int = 64 << 20,
        idle_time: float = 300,
    ) -> None:
        """Raises RuleError, and ValueError when the address is not a loopback one. idle_time: seconds of silence
        before a session is dropped."""
        if not ipaddress.ip_address(address).is_loopback:
            raise ValueError(f"a lab provider listens on loopback only, not on {address}")
        self.name = name
        self.domains = frozenset(domain.lower() for domain in domains)
        self.address = address
        self.ledger = ledger
        self.max_size = max_size
        self.eightbit = "8BITMIME" in extensions
        self.smtputf8 = "SMTPUTF8" in extensions
        self.banner = f"220 mx.{name} ESMTP lab\r\n".encode()
        self.helo = f"250 mx.{name}\r\n".encode()
        lines = [f"mx.{name}", f"SIZE {max_size}", *extensions]
        self.ehlo = "".join(f"250{'-' if line is not lines[-1] else ' '}{line}\r\n" for line in lines).encode()
        self.rules = RuleBook(rules, rng)
        self._rng = rng
        self._idle_time = idle_time
        self._suffixes = tuple(domain for domain in self.domains if domain.startswith("."))
        self._sessions: set[Receiver] = set()
        self._by_source: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def hits(self) -> dict[str, int]:
        """How often each rule decided, since the rules were set."""
        return self.rules.hits

    @property
    def sessions(self) -> int:
        """Sessions open now."""
        return len(self._sessions)

    def set_rules(self, rules: Iterable[Rule]) -> None:
        """Behave otherwise from the next step on, open sessions included. Counters begin at 0. Raises RuleError."""
        self.rules = RuleBook(rules, self._rng)

    async def start(self, port: int = 0) -> int:
        """Listen; port 0 takes a free one. Returns the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Receiver(self), self.address, port, backlog=1000)
        self._sweeper = loop.call_later(_SWEEP, self._sweep)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop the open sessions."""
        if self._sweeper:
            self._sweeper.cancel()
        if self._server:
            self._server.close()
        for session in list(self._sessions):
            session.hang_up()
        if self._server:
            await self._server.wait_closed()
            self._server = None

    async def idle(self) -> None:
        """Wait until no session is open."""
        await self._idle.wait()

    # What a session asks and tells

    def opened(self, session: Receiver) -> bool:
        """A session began. False: there are too many."""
        if len(self._sessions) >= _MAX_SESSIONS:
            return False
        self._sessions.add(session)
        self._idle.clear()
        self._by_source[session.source] += 1
        return True

    def closed(self, session: Receiver) -> None:
        if session in self._sessions:
            self._sessions.discard(session)
            self._by_source[session.source] -= 1
            if not self._by_source[session.source]:
                del self._by_source[session.source]
            if not self._sessions:
                self._idle.set()

    def sessions_of(self, source: str) -> int:
        return self._by_source[source]

    def serves(self, address: str) -> bool:
        """Do we take mail for this recipient?"""
        if not self.domains:
            return True
        domain = address.rpartition("@")[2].lower()
        return domain in self.domains or (bool(self._suffixes) and domain.endswith(self._suffixes))

    def keep(self, source: str, sender: str, recipients: Sequence[str], content: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self.ledger.record(now, self.name, source, sender, recipients, content)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._idle_time
        for session in [one for one in self._sessions if one.heard_at < oldest]:
            session.hang_up()
        self._sweeper = loop.call_later(_SWEEP, self._sweep)
