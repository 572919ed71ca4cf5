"""The process of one engine: from its Start frame to the last commit."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import sys
from pathlib import Path
from random import SystemRandom

import structlog
from msgspec import structs

from postroad.api.passing import Passing
from postroad.api.siblings import Siblings
from postroad.auth.dkim import SECRET_FILE
from postroad.config.schema import Config, DeliveryOptions, HttpOptions, ListenerOptions
from postroad.console import HoldsError
from postroad.deliver import HttpsFetch, StsPolicies, TlsPolicies
from postroad.journal import JournalError
from postroad.journal.folders import beside
from postroad.net import DnsResolver, SystemClock
from postroad.policy import POLICY_ERRORS, PluginError, load_policies
from postroad.serve.control import Answer, ControlServer
from postroad.serve.domainkeys import CatalogDomainKeys
from postroad.serve.engine import Engine
from postroad.serve.errors import StartError
from postroad.serve.frames import Name, Peers, Ready, Start, unpack
from postroad.serve.lending import borrower, counted
from postroad.serve.line import CONTROL_API, RemoteConsole
from postroad.serve.link import Link
from postroad.serve.reload import Swaps, live_part
from postroad.serve.sites import KeysError, OneSite, link_keys
from postroad.serve.stock import CatalogStock
from postroad.serve.transmissions import Desk
from postroad.serve.windows import rate_windows
from postroad.store.access import Access, engine_catalog
from postroad.store.catalog import Catalog

log = structlog.get_logger()

# The journal's writer thread needs the interpreter back right after a sync; the default of 5 ms would be ten commits.
_SWITCH_INTERVAL = 0.0005
_LOOK = 5.0  # seconds until the catalog is looked at though nobody said that it changed
_FEW = 4096  # open files; with less a server is in want of them soon
_OWN_FILES = 200  # descriptors for the journal, look-ups, the local sockets
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def run_folder(data_dir: Path) -> Path:
    """Where the local sockets of the running processes lie."""
    return data_dir / "run"


def engine_socket(number: int) -> str:
    """The name, in the run folder, of the socket on which an engine answers control."""
    return f"engine-{number}.sock"


def generation_file(number: int) -> str:
    """The name, in the run folder, of a configuration that engines are to prepare."""
    return f"generation-{number}"


async def run(start: Start, link: Link, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises StartError."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    generation = unpack(start.generation)
    config, data_dir = generation.config, generation.data_dir
    _raise_file_limit(config)
    rng = SystemRandom()
    clock = SystemClock()
    resolver = DnsResolver(config.dns, rng=rng, ipv6=config.delivery.use_ipv6)
    sts = StsPolicies(data_dir / beside("mta-sts", start.number), resolver, HttpsFetch(resolver), clock)
    windows = rate_windows(data_dir) if start.engines == 1 else None
    catalog = engine_catalog(data_dir)
    try:
        catalog.load()
        tracking = config.engagement.tracking
        sites = OneSite(tracking, link_keys(data_dir)) if tracking else None
        policy = load_policies(config, generation.path.parent, clock=clock, resolver=resolver)
        engine = Engine(
            config,
            data_dir,
            clock=clock,
            resolver=resolver,
            rng=rng,
            policies=TlsPolicies(resolver, sts),
            number=start.number,
            engines=start.engines,
            siblings=Siblings(run_folder(data_dir), start.number, start.engines) if start.engines > 1 else None,
            policy=policy,
            borrower=borrower(link) if start.engines > 1 else None,
            windows=windows,
            admin=RemoteConsole(run_folder(data_dir)),
            control=Passing(run_folder(data_dir) / CONTROL_API),
            access=Access(catalog),
            stock=CatalogStock(catalog, clock.wall, sites),
            domain_keys=CatalogDomainKeys(catalog, data_dir / SECRET_FILE),
        )
    except (OSError, JournalError) as error:
        raise StartError(f"the journal in {data_dir} can't be opened: {error}") from error
    except (HoldsError, KeysError, *POLICY_ERRORS) as error:
        raise StartError(str(error)) from error
    engine.journal.on_alarm = lambda name, text: log.warning("alarm", alarm=name, text=text)

    engine.limits.generation = generation.number

    def use(wanted: Config) -> None:
        _raise_file_limit(wanted)
        engine.limits.generation = swaps.current.number
        engine.reconfigure(wanted)
        engine.policies.swap()

    swaps = Swaps(generation, use)

    async def prepare(*, number: int) -> str:
        """From the file that control wrote for it."""
        path = run_folder(data_dir) / generation_file(number)
        new = unpack(await asyncio.get_running_loop().run_in_executor(None, path.read_bytes))
        try:
            # Plug-ins and keys are read anew: their files may have changed though the configuration has not.
            wanted = load_policies(live_part(config, new.config), new.path.parent, clock=clock, resolver=resolver)
            await engine.policies.open(wanted)
        except POLICY_ERRORS as error:
            raise ValueError(str(error)) from error
        return swaps.prepare(new)

    desk = Desk(engine.queue.jobs, clock, lambda: engine.config.http.schedule_delete)
    answers: dict[str, Answer] = {
        "status": engine.stats,
        "queues": engine.paths,
        "prepare": prepare,
        "swap": swaps.swap,
        "lent": lambda: structs.asdict(counted(engine.limits.open())),
        "generation": lambda: swaps.current.number,
        "samples": engine.console.samples,
        "hold": engine.console.hold,
        "catalog": catalog.catch_up,
        "transmissions": desk.rows,
        "transmissions_using": desk.using,
        "cancel_transmissions": desk.cancel,
    }
    try:
        await engine.start(
            [[socket.socket(fileno=fd) for fd in fds] for fds in start.listeners],
            [socket.socket(fileno=fd) for fd in start.http],
            [socket.socket(fileno=fd) for fd in start.https],
        )
    except PluginError as error:
        raise StartError(str(error)) from error
    except (OSError, ValueError) as error:
        raise StartError(f"a listener can't be opened: {error}") from error
    control = await _control(engine, answers, data_dir, start)
    for problem in engine.hose.problems:
        log.warning("alarm", alarm="consumer_cursor", text=problem)
    smtp = tuple(f"{host}:{port}" for listener in engine.listeners for host, port in listener.addresses)
    link.send(Ready(smtp, engine.http.address if engine.http is not None else None))
    recovery = asyncio.create_task(_tell_recovery(engine))
    following = asyncio.create_task(_follow(catalog))

    def peers(frame: Peers) -> None:
        if engine.http is not None:
            engine.http.processes = {
                str(Name(peer.kind, peer.number)): "up" if peer.up else "away" for peer in frame.peers
            }

    link.on(Peers, peers)
    await stop.wait()
    log.info("stopping", live=engine.stats().live)
    recovery.cancel()
    following.cancel()
    if control is not None:
        await control.close()
    await engine.stop()
    if windows is not None:
        windows.close()
    await sts.close()
    await resolver.close()
    log.info("stopped")


async def _control(engine: Engine, answers: dict[str, Answer], data_dir: Path, start: Start) -> ControlServer | None:
    """The socket on which this engine answers control."""
    folder = run_folder(data_dir)
    server = ControlServer(folder, answers, engine.console, socket_name=engine_socket(start.number), trusting=True)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        await server.start()
    except OSError as error:
        text = f"the socket for control in {folder} can't be opened: {error}"
        if error.errno not in NO_ROOM:
            await engine.stop()
            raise StartError(text) from error
        # Mail that is queued can still be delivered; commands have to wait for the next start.
        log.warning("alarm", alarm="no_control_socket", text=text)
        return None
    return server


async def _follow(catalog: Catalog) -> None:
    """Control tells of changes; but it may have done so while this engine was starting, or did not answer."""
    while True:
        try:
            await catalog.catch_up()
        except OSError as error:
            log.warning("alarm", alarm="catalog", text=f"the catalog can't be read: {error}")
        await asyncio.sleep(_LOOK)


async def _tell_recovery(engine: Engine) -> None:
    try:
        messages = await engine.recovered()
    except Exception as error:
        # Mail goes on, but nothing is compacted or dropped any more, and what was not loaded waits for the next start.
        text = f"the journal of the last run could not be loaded whole: {error!r}"
        log.error("alarm", alarm="recovery_failed", text=text)
        return
    log.info("recovered", messages=messages, damage=len(engine.journal.damage))


def _chosen(config: Config) -> bool:
    """Did somebody ask for so many connections? The defaults are there to be never in the way: where the system allows
    less than they do, that is the limit, and nobody needs to be told."""
    plain = DeliveryOptions().server_max_connections, HttpOptions().max_connections
    return (config.delivery.server_max_connections, config.http.max_connections) != plain or any(
        listener.max_sessions > ListenerOptions(address="").max_sessions for listener in config.listener
    )


def _raise_file_limit(config: Config) -> None:
    """Ask the system for as many descriptors as the limits on connections allow to be in use: the soft limit that most
    systems begin with, 1024, is meant for programs of another kind. A crowd that took them all would take the journal's
    too, and all new mail would be put off while it stays."""
    wanted = _OWN_FILES + config.http.max_connections + config.delivery.server_max_connections
    wanted += sum(listener.max_sessions for listener in config.listener)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < _FEW or (most < wanted and _chosen(config)):
        log.warning("files", limit=most, wanted=wanted, text="fewer open files than connections are allowed: ulimit -n")
