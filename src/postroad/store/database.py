"""The relational store: SQLite in the data folder, or PostgreSQL. The control process alone writes to it.

SQLite: WAL, one writer at a time, every commit synced (`synchronous=FULL`), foreign keys on. PostgreSQL: write
transactions take turns by an advisory lock, over all processes, so that the numbers of `changes` come in the order of
commits there as well. Reads see one consistent state and wait for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from sqlalchemy import URL, event, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from postroad.store.errors import StoreBusy
from postroad.store.faults import translated

_TIMEOUT = 10.0  # seconds until a writer or a server counts as stuck
_READERS = 4
_WRITERS_KEY = 0x706F7374726F6164  # of the advisory lock; "postroad"
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
SEQ = "postroad seq"  # in the info of a connection: the number of the last change of the transaction under way


class Database:
    """on_commit(seq): awaited after each commit that recorded changes, before `begin` returns; seq: of the last. What
    it raises reaches the writer, whose rows stay written."""

    def __init__(self, url: URL, writer: AsyncEngine, reader: AsyncEngine, timeout: float) -> None:
        self.url = url
        self.writer = writer
        self.on_commit: Callable[[int], Awaitable[None]] | None = None
        self._reader = reader
        self._turn = asyncio.Lock()
        self._timeout = timeout

    @classmethod
    async def open(cls, url: str, *, timeout: float = _TIMEOUT) -> Database:
        """url: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME; timeout: seconds. No connection is made yet: a
        server that is away shows with the first transaction. Raises ValueError on a URL that is none of these."""
        parsed = parse_url(url)
        if parsed.get_backend_name() == "sqlite":
            _keep_private(parsed.database)
            return cls(parsed, _sqlite(parsed, timeout), _sqlite(parsed, timeout, readers=True), timeout)
        arguments = {"timeout": timeout, "command_timeout": timeout * 6}
        writer = create_async_engine(parsed, pool_pre_ping=True, pool_size=1, max_overflow=1, connect_args=arguments)
        reader = create_async_engine(
            parsed,
            pool_pre_ping=True,
            pool_size=_READERS,
            pool_timeout=timeout,
            connect_args=arguments,
            isolation_level="REPEATABLE READ",
        )
        return cls(parsed, writer, reader, timeout)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction: committed at the end of the block, undone when it raises. Raises StoreError (nothing is
        written), Conflict (a unique or foreign key stands in the way)."""
        try:
            await asyncio.wait_for(self._turn.acquire(), self._timeout)
        except TimeoutError:
            raise StoreBusy("another change takes too long") from None
        try:
            with _told() as stage:
                async with self.writer.begin() as tx:
                    stage.connected = True
                    tx.info.pop(SEQ, None)
                    if not self.is_sqlite:
                        await tx.execute(text(f"SET LOCAL lock_timeout = '{int(self._timeout * 1000)}ms'"))
                        await tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS_KEY})
                    yield tx
                    seq: int | None = tx.info.pop(SEQ, None)
        finally:
            self._turn.release()
        if seq is not None and self.on_commit is not None:
            await self.on_commit(seq)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A consistent view; writing is refused. Raises StoreError."""
        with _told() as stage:
            async with self._reader.connect() as connection, connection.begin():
                stage.connected = True
                if not self.is_sqlite:
                    await connection.execute(text("SET TRANSACTION READ ONLY"))
                yield connection

    async def close(self) -> None:
        await self._reader.dispose()
        await self.writer.dispose()


def parse_url(url: str) -> URL:
    """With the driver that we use. Raises ValueError without the URL in it, which may hold a password."""
    try:
        parsed = make_url(url)
        driver = _DRIVERS.get(parsed.drivername)
    except (ArgumentError, ValueError):
        raise ValueError("the store's URL is none: sqlite:///PATH or postgresql://USER@HOST/NAME") from None
    if driver is None:
        raise ValueError(f"the store can't be a {parsed.drivername[:40]!r}: SQLite and PostgreSQL are known")
    return parsed.set(drivername=driver)


def sqlite_url(path: object) -> str:
    return str(URL.create("sqlite", database=str(path)))


class _Stage:
    connected = False


@contextlib.contextmanager
def _told() -> Iterator[_Stage]:
    """Errors of the database as our own; those of files and sockets only while we connect: later they are others'."""
    stage = _Stage()
    try:
        yield stage
    except Exception as error:
        told = None if stage.connected and isinstance(error, OSError) else translated(error)
        if told is None:
            raise
        raise told from error


def _keep_private(path: str | None) -> None:
    """SQLite makes a file as the umask says; this one holds addresses. Its log beside it gets the same rights."""
    with contextlib.suppress(OSError):  # the first transaction says what is wrong
        os.close(os.open(path or "", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _sqlite(url: URL, timeout: float, *, readers: bool = False) -> AsyncEngine:
    size = _READERS if readers else 1
    engine = create_async_engine(
        url, connect_args={"timeout": timeout}, pool_size=size, max_overflow=0, pool_timeout=timeout
    )

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: the driver would say it late, and never IMMEDIATE
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        if readers:
            cursor.execute("PRAGMA query_only = ON")
            cursor.execute("PRAGMA wal_autocheckpoint = 0")  # the writer alone checkpoints
        cursor.close()

    # A transaction that begins as a reader and writes later may find that it can't any more.
    statement = "BEGIN" if readers else "BEGIN IMMEDIATE"

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Any) -> None:
        connection.exec_driver_sql(statement)

    return engine
