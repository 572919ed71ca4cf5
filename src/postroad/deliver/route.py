"""Where one path's mail goes: the targets that DNS gave, for as long as they are used, and the plan made of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from math import inf

from postroad.config.schema import DeliveryOptions
from postroad.config.ways import parse_ways
from postroad.deliver.connection import Connection
from postroad.deliver.health import Failure
from postroad.deliver.login import Credential, read_secret
from postroad.deliver.means import Means
from postroad.deliver.plan import Target, Unroutable, nowhere, order
from postroad.deliver.policies import Decision
from postroad.deliver.resolve import Found, find_gateway, find_hosts
from postroad.deliver.steps import LMTP, SMTP, Manner, Result
from postroad.deliver.sts import StsPolicy
from postroad.deliver.tls import Failure as TlsFailure
from postroad.deliver.tls import Policy, Request, Terms, Trouble
from postroad.deliver.tlsrpt import Place, TlsCounts
from postroad.deliver.ways import find_ways
from postroad.message import Reply, Stage, Verdict
from postroad.shaping import Allowance

# How long a path uses the addresses it looked up; asking again costs nothing while the resolver's cache has them.
_LIFE = 60.0
_REFUSED = Trouble(TlsFailure.NO_STARTTLS, "the host does not take STARTTLS")
# Failures that say nothing about the host for other paths.
_OURS = (Stage.STARTTLS, Stage.TLS_HANDSHAKE, Stage.AUTH)
# How long nothing is asked again after a failure that connections which are still open outlive.
_PAUSE = 1.0


class Route:
    """changed(None): there are targets now; changed(result): there is no way, and why."""

    def __init__(
        self, means: Means, allowance: Allowance, domain: str, changed: Callable[[Result | None], None]
    ) -> None:
        self.port = _port(allowance.delivery)
        self._means = means
        self._allowance = allowance
        self._domain = domain
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._targets: list[Target] = []
        self._tls = Terms(allowance.delivery)
        self._policies: dict[str, Policy] = {}  # by host
        self._sts: StsPolicy | None = None  # for the reports
        self._credential: Credential | None = None
        # Where failures to be safe enough are remembered: for this path alone.
        self._insecure_as = "/".join((allowance.binding.name, domain))
        self._until = -inf
        self._finding: asyncio.Task[list[Target]] | None = None

    @property
    def finding(self) -> bool:
        """A look-up is under way."""
        return self._finding is not None

    @property
    def targets(self) -> list[Target]:
        """What was found last."""
        return self._targets

    def fresh(self) -> bool:
        return self._loop.time() < self._until

    def expire(self) -> None:
        """Look it up again before the next connection."""
        self._until = -inf

    def find(self) -> None:
        """Look the domain up; `changed` is called once, unless `stop` comes first."""
        assert self._finding is None
        self._finding = self._loop.create_task(self._find())
        self._finding.add_done_callback(self._found)

    async def _find(self) -> list[Target]:
        means = self._means
        options = self._allowance.delivery
        if options.routes:
            return await self._find_ways(options)
        if options.gateway:
            found, self.port = await find_gateway(options.gateway, means.resolver)
        else:
            self.port = _port(options)
            own_names = {means.hostname, self._allowance.binding.ehlo_hostname}
            found = await find_hosts(self._domain, means.resolver, own_names)
            self._allowance.located([mx.name for mx, _ in found])
        # The provider that the hosts belong to may have changed the options.
        binding = self._allowance.binding
        made = means.made(self._allowance.delivery)
        await self._find_credential(self._allowance.delivery)
        found = await self._find_policies(made.tls, found, chosen=bool(options.gateway), port=self.port)
        screen = made.screen
        targets = screen.targets(self._domain, found, ipv4=binding.ipv4, ipv6=binding.ipv6)
        return means.doors.before_us(self._domain, targets, self.port)

    async def _find_ways(self, options: DeliveryOptions) -> list[Target]:
        """By the routes that the operator chose: what they name is not prohibited, what a domain names may be."""
        means = self._means
        self.port = _port(options)
        own_names = {means.hostname, self._allowance.binding.ehlo_hostname}
        located = await find_ways(parse_ways(options.routes), self._domain, means.resolver, own_names)
        made, binding = means.made(options), self._allowance.binding
        await self._find_credential(options)
        targets: list[Target] = []
        policies: dict[str, Policy] = {}
        failure: Unroutable | None = None
        for chosen, port in dict.fromkeys((each.chosen, each.port) for each in located):
            group = [(each.mx, each.addresses) for each in located if (each.chosen, each.port) == (chosen, port)]
            try:
                group = [*await self._find_policies(made.tls, group, chosen=chosen, port=port or self.port)]
                screen = made.chosen if chosen else made.screen
                usable = screen.targets(self._domain, group, ipv4=binding.ipv4, ipv6=binding.ipv6)
                targets += means.doors.before_us(self._domain, [each._replace(port=port) for each in usable], self.port)
                policies |= self._policies
            except Unroutable as error:
                failure = error
        self._policies = policies
        if failure is not None and not targets:
            raise failure
        return sorted(targets, key=lambda target: target.preference)

    async def _find_credential(self, options: DeliveryOptions) -> None:
        """Read the secret again each time: it may have been changed since. Raises Unroutable."""
        self._credential = None
        if not options.smtp_auth_user:
            return
        try:
            secret = await self._loop.run_in_executor(None, read_secret, options.smtp_auth_secret)
        except ValueError as error:
            raise nowhere(Verdict.DEFERRED, 451, f"4.3.5 smtp_auth_secret can't be used: {error}") from None
        mechanism = "" if options.smtp_auth_mechanism == "any" else options.smtp_auth_mechanism
        self._credential = Credential(options.smtp_auth_user, secret, mechanism, options.smtp_auth_in_clear)

    @property
    def credential(self) -> Credential | None:
        """What the next session logs in with."""
        return self._credential

    def manner(self) -> Manner:
        """How to hold the next session."""
        lmtp = self._allowance.delivery.delivery_method == "lmtp"
        if self._credential is None:
            return LMTP if lmtp else SMTP
        return Manner(lmtp, self._credential, f"{self._means.rng.getrandbits(128):032x}")

    async def _find_policies(self, terms: Terms, found: Found, *, chosen: bool, port: int) -> Found:
        """How connections to the hosts are to be encrypted; gives those that may be connected to. Raises Unroutable."""
        options = self._allowance.delivery
        hosts = [mx.name for mx, _ in found]
        decision = Decision(dict.fromkeys(hosts, terms.policy))
        source = self._means.policies
        if source is not None and chosen:
            decision = await source.gateways(hosts, terms.policy, options, port)
        elif source is not None and not self._domain.startswith("["):
            decision = await source.find(self._domain, hosts, terms.policy, options, port)
        policies = decision.policies
        self._tls, self._policies, self._sts = terms, policies, decision.sts
        if (counts := self._counts()) is not None:
            for told in decision.told:
                counts.told(self._domain, told.kind, decision.sts, told.host, told.trouble)
        if not policies:
            text = f"4.7.5 no mail host of {self._domain} may be sent to: {decision.reason()}"
            raise nowhere(Verdict.DEFERRED, 451, text)
        for policy in dict.fromkeys(policies.values()):
            if terms.prepared(policy):
                continue
            try:
                await self._loop.run_in_executor(None, terms.prepare, policy)
            except (OSError, ValueError) as error:
                # The files were there when the configuration was read.
                text = f"4.3.5 a file of the TLS options can't be used: {error}"
                raise nowhere(Verdict.DEFERRED, 451, text) from None
        return [(mx, addresses) for mx, addresses in found if mx.name in policies]

    def _found(self, task: asyncio.Task[list[Target]]) -> None:
        self._finding = None
        now = self._loop.time()
        result: Result | None = None
        if task.cancelled():
            reply = Reply(451, f"4.3.2 the look-up of {self._domain} was called off")
            result = Result(Verdict.DEFERRED, reply, Stage.NOT_CONNECTED, internal=True)
        elif (error := task.exception()) is None:
            self._targets = task.result()
            self._until = now + _LIFE
        elif isinstance(error, Unroutable):
            result = error.result
        else:
            # A resolver that breaks its word must not leave mail standing without a word.
            self._loop.call_exception_handler(
                {"message": f"looking up {self._domain} failed", "exception": error, "task": task}
            )
            reply = Reply(451, f"4.3.0 looking up {self._domain} failed: {type(error).__name__}")
            result = Result(Verdict.DEFERRED, reply, Stage.NOT_CONNECTED, internal=True)
        if result is not None:
            self._targets = []
            self._until = now + _PAUSE
        self._changed(result)

    def stop(self) -> None:
        if self._finding is not None:
            self._finding.cancel()

    def plan(self, in_use: Iterable[Target], tried: Collection[str] = ()) -> list[Target]:
        """The targets to try next, best first. in_use: one a connection of the path; tried: addresses to omit."""
        load: dict[str, int] = {}
        for target in in_use:
            load[target.address] = load.get(target.address, 0) + 1
        return order(
            self._targets,
            self._means.rng,
            avoided=lambda address: self.failure(address) is not None,
            load=lambda address: load.get(address, 0),
            tried=tried,
        )

    def _counts(self) -> TlsCounts | None:
        """Where sessions are counted for the domain's report. How our gateway does is nothing of its business."""
        return None if self._allowance.delivery.gateway or self._allowance.delivery.routes else self._means.tls_counts

    def _count(self, connection: Connection, trouble: Trouble) -> None:
        counts = self._counts()
        if counts is not None:
            target = connection.target
            place = Place(connection.source, target.host, target.address)
            domain, sts = self.reported()
            counts.bad(domain, connection.request.policy, sts, place, trouble)

    def reported(self) -> tuple[str, StsPolicy | None]:
        """In whose report sessions are counted, and its policy."""
        return self._domain, self._sts

    def worse(self, target: Target) -> bool:
        """Is there a host that the domain prefers to this one?"""
        return any(other.preference < target.preference for other in self._targets)

    def failure(self, address: str) -> Failure | None:
        """Why this address is avoided now."""
        means, now = self._means, self._loop.time()
        found = means.health.failure(self._allowance.binding.source(address), address, now)
        return found or means.insecure.failure(self._insecure_as, address, now)

    def failed(self, address: str, result: Result) -> None:
        """No session came of this address; avoid it for a while."""
        now = self._loop.time()
        options = self._allowance.delivery
        retry, most = float(options.host_failure_retry), float(options.max_host_failure_retry)
        if result.stage in _OURS:
            self._means.insecure.failed(self._insecure_as, address, result.reply, now, retry, most)
        else:
            source = self._allowance.binding.source(address)
            self._means.health.failed(source, address, result.reply, now, retry, most)

    def opened(self, connection: Connection) -> None:
        """A session was established."""
        self.works(connection.target.address)
        if connection.tls and connection.request.rung is connection.request.policy.ladder[0]:
            if (counts := self._counts()) is not None:
                domain, sts = self.reported()
                counts.good(domain, connection.request.policy, connection.target.host, sts)
        elif connection.machine.refused_tls:
            self._count(connection, _REFUSED)

    def works(self, address: str) -> None:
        """The host answers."""
        self._means.health.works(self._allowance.binding.source(address), address)
        self._means.insecure.works(self._insecure_as, address)

    # --- TLS ----------------------------------------------------------------------------------------------------------

    def policy(self, host: str) -> Policy | None:
        """None: nothing is known of it, or it must get no mail."""
        return self._policies.get(host)

    def request(self, target: Target) -> Request:
        """How a connection there is to be encrypted."""
        policy = self._policies[target.host]
        rung = self._means.footing.rung(self._tls, policy, target.address, self._loop.time())
        return self._tls.request(target.host, policy, rung)

    def lower(self, connection: Connection) -> bool:
        """No session came of this connection. Is it worth while to ask the same address for less?"""
        trouble = connection.trouble or (_REFUSED if connection.machine.refused_tls else None)
        if trouble is not None:
            self._count(connection, trouble)
        if trouble is None or connection.target.host not in self._policies:
            return False
        until = self._loop.time() + float(self._allowance.delivery.host_failure_retry)
        return self._means.footing.lower(self._tls, connection.request, connection.target.address, trouble, until)

    def avoided(self) -> tuple[Result, float] | None:
        """How an attempt ends that finds every host avoided, and the seconds until one may be tried again."""
        failures = [failure for target in self._targets if (failure := self.failure(target.address)) is not None]
        if not failures:
            return None
        latest = max(failures, key=lambda failure: failure.until)
        soonest = min(failures, key=lambda failure: failure.until)
        text = f"4.4.1 every mail host of {self._domain} failed a short time ago; the last one: {latest.reply}"
        result = Result(Verdict.DEFERRED, Reply(451, text), Stage.NOT_CONNECTED, internal=True)
        return result, max(_PAUSE, soonest.until - self._loop.time())

    # --- of several domains -------------------------------------------------------------------------------------------

    def hosts(self) -> frozenset[tuple[int, str, int]]:
        """(rank, host, port) of each host: the same for domains whose mail may go the same way. Ranks, as only the
        order of preferences means something; no addresses, since a name server may show others each time."""
        rank = {each: at for at, each in enumerate(sorted({target.preference for target in self._targets}))}
        return frozenset((rank[each.preference], each.host, each.port or self.port) for each in self._targets)

    def alike(self, other: Route) -> bool:
        """Would each session of the one do for the other's mail? The same hosts, TLS policies and login."""
        return (
            self.hosts() == other.hosts()
            and self._policies == other._policies
            and self._credential == other._credential
        )


def _port(options: DeliveryOptions) -> int:
    return options.lmtp_port if options.delivery_method == "lmtp" else options.port
