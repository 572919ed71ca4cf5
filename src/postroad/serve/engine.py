"""One engine: a complete MTA for its share of destinations (design section 3). Here the rooms are introduced to each
other; what each does is its own affair."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from socket import socket
from typing import NamedTuple

from postroad.api import Admin, App, HttpServer
from postroad.api.callers import NO_SUBACCOUNTS
from postroad.api.siblings import Siblings
from postroad.auth import ApiKeys
from postroad.auth.smtpauth import SmtpUsers
from postroad.config.schema import Config
from postroad.console import Console, Parts
from postroad.deliver import Deliverer, DeliveryStats, HttpsPost, TlsPolicies, TlsReporter
from postroad.events import EventEncoder, Hose, Kind
from postroad.inject import MsysApi, Refusals, SmtpListener, Told
from postroad.inject.http import Nothing, Stock
from postroad.journal import JOB, Committer, Disk, Journal, JournalStats, LiveMail
from postroad.journal import Event as JournalEvent
from postroad.journal.folders import beside, journal_folder
from postroad.message import Acceptor, IdSource
from postroad.net import Clock, Resolver, Tap
from postroad.policy import BindingChoice, DomainKeys, Intake, Outbound, Policies, PolicySet, Signing, marked, sealing
from postroad.queue import PathCount, Queue
from postroad.queue.jobs import is_job
from postroad.queue.stored import common_event, mark_job
from postroad.serve.generation import Generation
from postroad.serve.handover import Handover
from postroad.serve.owner import Owners
from postroad.serve.windows import Windows
from postroad.shaping import Borrower, Limits
from postroad.store.access import Access


class EngineStats(NamedTuple):
    """A snapshot. recovered: messages found at the start, None while they are still being loaded. generating:
    transmissions whose time has come, and whose messages are not all made. joined: other engines that take mail which
    is theirs."""

    live: int
    in_flight: int
    recovered: int | None
    refusal: str | None
    sessions: int
    delivery: DeliveryStats
    journal: JournalStats
    generating: int = 0
    joined: int = 0


class Engine:
    """data_dir: absolute. policies: None leaves DANE and MTA-STS out. disk, committer: None for the real ones.
    admin: the console of the whole server, for HTTP; None: this engine is alone, and keeps its own trail and holds.
    siblings: the way to the HTTP of the other engines.
    control: answers HTTP requests that are not an engine's. access: keys and subaccounts of the store; None: there are
    those of the configuration only. stock: what transmissions may name; None: nothing. domain_keys: of
    sending domains in the store.
    number: which of so many engines this is; with several, mail for domains of the others is handed over to them.
    borrower: with several, what makes the limits hold for all together. windows: where one engine keeps its rates.
    Construct it inside the running event loop."""

    def __init__(
        self,
        config: Config,
        data_dir: Path,
        *,
        clock: Clock,
        resolver: Resolver,
        rng: Random,
        policies: TlsPolicies | None = None,
        disk: Disk | None = None,
        committer: Committer | None = None,
        reuse_port: bool = False,
        number: int = 0,
        engines: int = 1,
        borrower: Borrower | None = None,
        windows: Windows | None = None,
        policy: PolicySet | None = None,
        admin: Admin | None = None,
        control: App | None = None,
        siblings: Siblings | None = None,
        access: Access | None = None,
        stock: Stock | None = None,
        domain_keys: DomainKeys | None = None,
    ) -> None:
        self.config = config
        self.access = access
        self.policies = Policies()
        self._policy = policy
        self.number = number
        self._reuse_port = reuse_port
        self._recovery: asyncio.Task[None] | None = None
        self._recovered: int | None = None
        encoder = EventEncoder()

        def injection(message_id: int, index: int, mail: LiveMail) -> JournalEvent:
            """The event that a crash took, made again as it was."""
            if is_job(mail.meta):
                return JournalEvent(message_id, 0, b"", flags=JOB, next_attempt_ms=message_id)
            common, binding, connection = common_event(mail.meta, index)
            payload = encoder.injection(common, message_id, mail.received_ms / 1000, binding, connection)
            event = JournalEvent(message_id, Kind.INJECTION, payload, place=mail.place, index=index)
            return mark_job(event, mail.meta, index)

        self.journal = Journal.open(
            journal_folder(data_dir, number),
            config.journal,
            durability=config.server.durability,
            clock=clock,
            injection=injection,
            disk=disk,
            committer=committer,
            engine=number,
            rng=rng,
        )
        # At once, before retention can drop what a consumer has not read yet.
        self.hose = Hose(self.journal, data_dir / beside("cursors", number))
        ids = IdSource(clock.wall, number, last=self.journal.last_id)
        hostname = config.server.hostname
        self.limits = Limits(config, asyncio.get_running_loop().time, borrower)
        if windows is not None:
            self.limits.throttle, self.limits.cover = windows.throttle, windows.cover
            windows.throttles = self.limits.rates
        self.bindings = BindingChoice(config, self._suspended, rng)
        self.queue = Queue(
            self.journal,
            encoder,
            Kind,
            options=config.queue,
            clock=clock,
            ids=ids,
            rng=rng,
            hostname=hostname,
            memory_goal=config.server.memory_goal,
            binding=self.bindings.choose,
            path_options=self.limits.queue_options,
        )
        # What mail goes to that is accepted here. One engine keeps it all, and has nothing in front of its queue.
        self.acceptor: Acceptor = self.queue
        self.handover: Handover | None = None
        if engines > 1:
            self.handover = Handover(self.queue, Owners(config, engines), data_dir / "run", number, engines)
            self.acceptor = self.handover.router
            self.limits.found = self.handover.located
            self.queue.own_mail = self.handover.router.keep
        self._wall = clock.wall
        self._signing = Signing(self.acceptor, self.policies.keys, clock.wall, domain_keys)
        self.queue.own_mail = self._signing.own_mail(self.queue.own_mail)
        self.tls_reporter: TlsReporter | None = None
        if policies is not None and config.tls_reports.send:
            self.tls_reporter = TlsReporter(
                config.tls_reports,
                hostname=hostname,
                path=data_dir / f"{beside('tls-reports', number)}.json",
                resolver=policies.resolver,
                acceptor=self._signing,
                clock=clock,
                rng=rng,
                post=HttpsPost(resolver),
            )
        self._outbound = Outbound(self.queue, self.policies.hooks, lambda *path: self.deliverer.wake(*path))
        self.deliverer = Deliverer(
            self._outbound,
            resolver,
            self.limits,
            hostname=hostname,
            rng=rng,
            clock=clock,
            queues=self.queue.rollups,
            policies=policies,
            tls_counts=self.tls_reporter.counts if self.tls_reporter is not None else None,
        )
        self.queue.on_work(self.deliverer.wake)
        self.console = Console(
            Parts(
                self.queue,
                self.deliverer,
                self.journal,
                self.hose,
                clock,
                lambda: self.config,
                data_dir,
                self._sessions,
                lambda: self._recovered,
                self._listen_in,
                self.policies,
                lambda: sum(listener.auth_failures for listener in self.listeners),
                lambda: sum(listener.tls_failures for listener in self.listeners),
            ),
            alone=admin is None,
        )
        keys = self._keys()
        users = self._users(keys)
        self.listeners = [
            SmtpListener(
                options,
                hostname=hostname,
                acceptor=marked(
                    MsysApi(
                        Intake(
                            Told(sealing(self._signing, options, config, self.policies.keys, clock.wall), refusals),
                            self.policies.hooks,
                            options.address,
                        ),
                        self.bindings.is_group,
                        stock if stock is not None else Nothing(),
                        ids,
                        clock.wall,
                    ),
                    binding=options.binding,
                    group=options.group,
                ),
                clock=clock,
                ids=ids,
                reuse_port=reuse_port,
                resolver=resolver,
                users=users,
                hooks=self.policies.hooks,
                refusals=refusals,
            )
            for options in config.listener
            for refusals in (Refusals(self._signing.rejected, options.max_rejection_events),)
        ]
        self.http = (
            HttpServer(
                config.http,
                hostname=hostname,
                acceptor=Intake(self._signing, self.policies.hooks, "http"),
                clock=clock,
                ids=ids,
                rng=rng,
                admin=admin or self.console,
                control=control,
                subaccounts=access if access is not None else NO_SUBACCOUNTS,
                is_pool=self.bindings.is_group,
                jobs=self.queue.jobs,
                siblings=siblings,
                stock=stock,
            )
            if config.http.address
            else None
        )
        if self.http is not None:
            self.http.keys = keys
        # Its messages stay here, whoever owns their domains: see serve/generation.py.
        self._home_signing = Signing(self.queue, self.policies.keys, clock.wall, domain_keys)
        self.generation = (
            Generation(
                self.queue,
                self.journal,
                Intake(self._home_signing, self.policies.hooks, "http"),
                setting=self.http.setting,
                teller=encoder,
                kinds=Kind,
                ids=ids,
                clock=clock,
                room=lambda: len(self.queue) < self.config.http.job_room,
            )
            if self.http is not None
            else None
        )

    async def start(
        self,
        listeners: Sequence[Sequence[socket]] = (),
        http: Sequence[socket] = (),
        https: Sequence[socket] = (),
    ) -> None:
        """Take new mail at once; what the journal held is loaded meanwhile. listeners, http, https: bound sockets for
        each listener and for HTTP, where others have bound them."""
        self._recovery = asyncio.get_running_loop().create_task(self._recover())
        try:
            if self._policy is not None:
                await self.policies.open(self._policy)
                self.policies.swap()
            if self.handover is not None:
                await self.handover.start()
            for at, listener in enumerate(self.listeners):
                await listener.start(listeners[at] if listeners else ())
            self.deliverer.doors(place for listener in self.listeners for place in listener.addresses)
            if self.http is not None:
                await self.http.start(reuse_port=self._reuse_port, sockets=http, tls_sockets=https)
            if self.tls_reporter is not None:
                await self.tls_reporter.start()
        except BaseException:
            await self.stop()
            raise

    async def _recover(self) -> None:
        self._recovered = await self.queue.recover()
        if self.generation is not None:
            self.generation.start()

    async def recovered(self) -> int:
        """Wait until the journal's messages are loaded; how many there were."""
        assert self._recovery is not None
        await asyncio.shield(self._recovery)
        assert self._recovered is not None
        return self._recovered

    def _suspended(self, binding: str, domain: str) -> bool:
        """By the configuration, or by an operator."""
        if self.limits.suspended(binding, domain):
            return True
        held = self.queue.suspensions
        return bool(held.rules) and held.holding(binding, domain) is not None

    def _keys(self) -> ApiKeys:
        return ApiKeys(self.config.http.keys, None if self.access is None else self.access.key)

    def _users(self, keys: ApiKeys) -> SmtpUsers:
        return SmtpUsers(self.config.smtp_user, keys, (lambda _: True) if self.access is None else self.access.active)

    def reconfigure(self, config: Config) -> None:
        """Deliver, queue and let in by this from now on; what can't change is left out (see serve/reload.py)."""
        self.config = config
        self.bindings.reconfigure(config)
        if self.handover is not None:
            self.handover.reconfigure(config)
        self.queue.reconfigure(config.queue)
        self.deliverer.reconfigure(config)
        keys = self._keys()
        if self.http is not None:
            self.http.keys = keys
            self.http.reload_certificates()
        users = self._users(keys)
        for listener in self.listeners:
            listener.reconfigure(users)
        for path in self.queue.summary():
            if path.active:
                self.deliverer.wake(path.binding, path.domain)  # it may have been suspended

    async def stop(self) -> None:
        """Let open sessions and requests finish, then what is on the wire, then write the rest down."""
        drain = self.config.server.drain_time
        doors = [listener.drain(drain) for listener in self.listeners]
        if self.http is not None:
            self.http.stop_accepting()
        await asyncio.gather(*doors)
        if self.http is not None:
            await self.http.drain(drain)
        if self.generation is not None:
            await self.generation.stop()
        self.console.close()
        if self.tls_reporter is not None:
            await self.tls_reporter.stop()
        self.queue.stop()
        await self.deliverer.stop(drain)
        await self._outbound.drain()
        await self._signing.settled()
        await self._home_signing.settled()
        if self.handover is not None:
            await self.handover.settled()
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
        await asyncio.gather(*(listener.close() for listener in self.listeners))
        if self.http is not None:
            await self.http.close()
        await self.journal.close()
        await self.policies.close()
        self._signing.close()
        self._home_signing.close()
        if self.handover is not None:
            await self.handover.close()

    def _listen_in(self, tap: Tap | None) -> None:
        for listener in self.listeners:
            listener.tap = tap
        self.deliverer.listen_in(tap)

    def _sessions(self) -> int:
        return sum(listener.sessions for listener in self.listeners)

    def paths(self) -> list[PathCount]:
        return self.queue.summary()

    def stats(self) -> EngineStats:
        refusal = self.journal.refusal() or self.queue.refusal()
        return EngineStats(
            live=len(self.queue),
            in_flight=self.queue.in_flight,
            recovered=self._recovered,
            refusal=None if refusal is None else str(refusal),
            sessions=self._sessions(),
            delivery=self.deliverer.stats(),
            journal=self.journal.stats(),
            generating=sum(job.about.start <= self._wall() for job in self.queue.jobs.active()),
            joined=self.handover.joined if self.handover is not None else 0,
        )
