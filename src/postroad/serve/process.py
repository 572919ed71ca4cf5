"""`postroad serve`: one process with one engine, from a configuration file to the last commit."""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import sys
from random import SystemRandom

import structlog

from postroad import __version__
from postroad.config import Generation
from postroad.config.schema import Config
from postroad.console import HoldsError
from postroad.deliver import HttpsFetch, StsPolicies, TlsPolicies
from postroad.journal import JournalError
from postroad.net import DnsResolver, SystemClock
from postroad.serve.control import Answer, ControlServer
from postroad.serve.engine import Engine
from postroad.serve.reload import Generations

log = structlog.get_logger()

# The journal's writer thread needs the interpreter back right after a sync; the default of 5 ms would be ten commits.
_SWITCH_INTERVAL = 0.0005
_OWN_FILES = 200  # descriptors for the journal, look-ups, the control socket


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class StartError(Exception):
    """The server could not start. The message is fit for the user."""


def run(generation: Generation, *, use_uvloop: bool = True) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    _configure_log()
    factory = None
    if use_uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(generation))


async def serve(generation: Generation) -> None:
    config = generation.config
    data_dir = generation.data_dir
    _raise_file_limit(config)
    rng = SystemRandom()
    clock = SystemClock()
    resolver = DnsResolver(config.dns, rng=rng, ipv6=config.delivery.use_ipv6)
    sts = StsPolicies(data_dir / "mta-sts", resolver, HttpsFetch(resolver), clock)
    policies = TlsPolicies(resolver, sts)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine = Engine(config, data_dir, clock=clock, resolver=resolver, rng=rng, policies=policies)
    except (OSError, JournalError) as error:
        raise StartError(f"the journal in {data_dir} can't be opened: {error}") from error
    except HoldsError as error:
        raise StartError(str(error)) from error
    engine.journal.on_alarm = lambda name, text: log.warning("alarm", alarm=name, text=text)

    def apply(wanted: Config) -> None:
        _raise_file_limit(wanted)
        engine.reconfigure(wanted)

    generations = Generations(generation, apply)
    answers: dict[str, Answer] = {
        "status": engine.stats,
        "queues": engine.paths,
        "reload": generations.reload,
        "rollback": generations.rollback,
    }
    control = ControlServer(data_dir, answers, engine.console)
    try:
        await engine.start()
    except (OSError, ValueError) as error:
        raise StartError(f"a listener can't be opened: {error}") from error
    try:
        await control.start()
    except OSError as error:
        text = f"the control socket in {data_dir} can't be opened: {error}"
        if error.errno not in _NO_ROOM:
            await engine.stop()
            raise StartError(text) from error
        # Mail that is queued can still be delivered; commands have to wait for the next start.
        log.warning("alarm", alarm="no_control_socket", text=text)
    for problem in engine.hose.problems:
        log.warning("alarm", alarm="consumer_cursor", text=problem)
    for warning in generation.warnings:
        log.warning("config", problem=str(warning))
    log.info(
        "serving",
        version=__version__,
        smtp=[f"{host}:{port}" for listener in engine.listeners for host, port in listener.addresses],
        http=engine.http.address if engine.http is not None else None,
        durability=config.server.durability,
        data_dir=str(data_dir),
    )
    recovery = asyncio.create_task(_tell_recovery(engine))
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.create_task(_reload(generations))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    await stop.wait()
    log.info("stopping", live=engine.stats().live)
    recovery.cancel()
    await control.close()
    await engine.stop()
    await sts.close()
    await resolver.close()
    log.info("stopped")


async def _tell_recovery(engine: Engine) -> None:
    try:
        messages = await engine.recovered()
    except Exception as error:
        # Mail goes on, but nothing is compacted or dropped any more, and what was not loaded waits for the next start.
        text = f"the journal of the last run could not be loaded whole: {error!r}"
        log.error("alarm", alarm="recovery_failed", text=text)
        return
    log.info("recovered", messages=messages, damage=len(engine.journal.damage))


async def _reload(generations: Generations) -> None:
    """After a SIGHUP there is nobody to answer, so the log says how it went."""
    try:
        done = await generations.reload()
    except ValueError as error:
        log.error("reload_failed", problem=str(error))
        return
    for change in done.changes:
        log.info("config_change", **change._asdict())
    for change in done.restart:
        log.warning("config_change", needs="restart", **change._asdict())
    for text in done.warnings:
        log.warning("config", problem=text)
    log.info("reloaded", generation=done.number)


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
    if most < wanted:
        log.warning("files", limit=most, wanted=wanted, text="fewer open files than connections are allowed: ulimit -n")


def _configure_log() -> None:
    """One line an event on stderr: for people at a terminal, JSON elsewhere."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
