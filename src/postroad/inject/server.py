"""The listener: an SMTP port, the sessions on it, and how they are counted, drained and closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from socket import socket

from postroad.auth.guesses import Guesses
from postroad.auth.smtpauth import SmtpUsers
from postroad.config import split_address
from postroad.config.schema import ListenerOptions
from postroad.inject import replies
from postroad.inject.certificates import Certificates
from postroad.inject.hygiene import Hygiene
from postroad.inject.peers import Networks, Peer, Peers
from postroad.inject.refusals import Refusals
from postroad.inject.relay import RelayDomains
from postroad.inject.session import Session
from postroad.inject.wire import Wire
from postroad.message import Acceptor, IdSource, Reply
from postroad.net import Clock, Resolver, Tap
from postroad.policy import Hooks

log = logging.getLogger("postroad.inject")

_NO_HOOKS = Hooks()


class SmtpListener:
    """One SMTP listener of the configuration.

    hostname: our own name. ids: gives each transaction the id that Received and the final 250 name.
    reuse_port: share the port with other processes (SO_REUSEPORT). resolver: for checks that ask DNS. users: for AUTH.
    hooks(): the policy of now. refusals: the bounds within which refusals are told, where others refuse as well.
    Raises ValueError when the address, a peer's network or a relay domain is malformed, and OSError or ValueError when
    a certificate can't be used.
    """

    def __init__(
        self,
        options: ListenerOptions,
        *,
        hostname: str,
        acceptor: Acceptor,
        clock: Clock,
        ids: IdSource,
        reuse_port: bool = False,
        resolver: Resolver | None = None,
        users: SmtpUsers | None = None,
        hooks: Callable[[], Hooks] = lambda: _NO_HOOKS,
        refusals: Refusals | None = None,
    ) -> None:
        self.options = options
        self.hooks = hooks
        self.hostname = hostname
        self.acceptor = acceptor
        self.clock = clock
        self.ids = ids
        self.peers = Peers(options)
        self.relay_domains = RelayDomains(options.relay_domains, hostname, options.postmaster)
        self.draining = False
        self.users = users if users is not None else SmtpUsers()
        self.guesses = Guesses()
        self.certificates = Certificates(options) if options.tls != "no" else None
        self.proxies = Networks(options.proxy_networks)
        self.trusted = Networks(options.xclient_networks)
        self.hygiene = Hygiene(options, hostname, resolver)
        self.tls_failures = 0  # handshakes, and sessions whose TLS broke
        self.auth_failures = 0
        self.tap: Tap | None = None  # who listens in on the sessions
        self.held = 0  # octets of unfinished content in all sessions
        self._host, self._port = split_address(options.address)
        self._reuse_port = reuse_port
        self._servers: list[asyncio.Server] = []
        self._sessions: dict[Wire, None] = {}  # in the order they came, which a set would not keep
        self._by_address: dict[str, int] = {}
        self._by_network: dict[str, int] = {}
        self._empty: asyncio.Future[None] | None = None
        self.refusals = refusals or Refusals(acceptor.rejected, options.max_rejection_events)

    async def start(self, sockets: Sequence[socket] = ()) -> None:
        """Bind and accept; on these sockets, where others have bound them for us. Raises OSError when the address can't
        be bound."""
        loop = asyncio.get_running_loop()
        backlog = self.options.backlog
        for sock in sockets:
            self._servers.append(await loop.create_server(lambda: Session(self, loop), sock=sock, backlog=backlog))
        if sockets:
            return
        server = await loop.create_server(
            lambda: Session(self, loop),
            self._host,
            self._port,
            backlog=backlog,
            # Not False: some loops take the mere mention of it amiss where the system lacks it.
            reuse_port=self._reuse_port or None,
        )
        self._servers.append(server)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every socket that listens."""
        return [sock.getsockname()[:2] for server in self._servers for sock in server.sockets]

    @property
    def sessions(self) -> int:
        """Sessions open now."""
        return len(self._sessions)

    def stop_accepting(self) -> None:
        """Close the listening sockets. Sessions stay open."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def drain(self, timeout: float) -> int:
        """Accept nothing new, send sessions away (421 4.3.2) as they come to rest, and after `timeout` seconds the
        others too, their transactions lost to them. Returns how many those were."""
        self.stop_accepting()
        self.draining = True
        for session in list(self._sessions):
            session.leave_if_at_rest()
        if await self._emptied(timeout):
            self.refusals.flush()
            return 0
        cut = list(self._sessions)
        for session in cut:
            session.cut()
        self.refusals.flush()
        return len(cut)

    async def close(self) -> None:
        """Accept nothing new and abort what is open."""
        self.stop_accepting()
        self.draining = True
        for session in list(self._sessions):
            session.abort()
        await self._emptied(None)
        self.refusals.flush()

    async def _emptied(self, timeout: float | None) -> bool:
        """Wait until no session is left. False: the time was over first."""
        if not self._sessions:
            return True
        if self._empty is None:
            self._empty = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait([self._empty], timeout=timeout)
        return bool(done)

    def reconfigure(self, users: SmtpUsers) -> None:
        """Know these users from now on, and read the files of the certificates again. Sessions that are open go on as
        they are. A certificate that can't be used is logged, and those before stay."""
        self.users = users
        if self.certificates is not None:
            try:
                self.certificates = Certificates(self.options)
            except (OSError, ValueError) as error:
                log.error("%s keeps its certificates, as the new ones can't be used: %s", self.options.address, error)

    # For sessions.

    def moved(self, before: str, old: Peer, after: str, peer: Peer) -> None:
        """A session that was counted as one client's is another's."""
        _less(self._by_address, before)
        self._by_address[after] = self._by_address.get(after, 0) + 1
        if old.network:
            _less(self._by_network, old.network)
        if peer.network:
            self._by_network[peer.network] = self._by_network.get(peer.network, 0) + 1

    def enter(self, session: Wire, peer: Peer) -> None:
        self._sessions[session] = None
        self._by_address[session.remote] = self._by_address.get(session.remote, 0) + 1
        if peer.network:
            self._by_network[peer.network] = self._by_network.get(peer.network, 0) + 1

    def leave(self, session: Wire, peer: Peer, held: int) -> None:
        """held: octets of content the session still had in our sum."""
        self.held -= held
        self._sessions.pop(session, None)
        _less(self._by_address, session.remote)
        if peer.network:
            _less(self._by_network, peer.network)
        if not self._sessions and self._empty is not None:
            self._empty.set_result(None)
            self._empty = None

    def admit(self, remote: str, peer: Peer) -> Reply | None:
        """May this client, who has just entered, stay? None, or the reply that sends it away."""
        options = self.options
        if self.draining:
            return replies.SHUTTING_DOWN
        if not peer.allow:
            return replies.NO_ACCESS
        if len(self._sessions) > options.max_sessions:
            return replies.TOO_MANY_SESSIONS
        if options.max_sessions_per_peer and self._by_address[remote] > options.max_sessions_per_peer:
            return replies.TOO_MANY_SESSIONS_FROM_YOU
        if peer.max_sessions is not None and self._by_network[peer.network] > peer.max_sessions:
            return replies.TOO_MANY_SESSIONS_FROM_YOU
        return None


def _less(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
