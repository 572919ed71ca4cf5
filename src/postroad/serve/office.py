"""The management API of the control process: the store is opened, and the API served as long as control runs.

A store that can't be opened (its server is away, no room on the disk, a schema of a newer version) is an alarm and not
the end of control: commands and mail go on, clients of the API get 503, and it is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from postroad.api.office import Office
from postroad.api.office_server import OfficeServer
from postroad.api.resources import all_routes
from postroad.auth import ApiKeys, AuthFailure, Key
from postroad.config.schema import ApiKey, Config
from postroad.net import SystemClock
from postroad.serve.line import CONTROL_API
from postroad.serve.sweeping import Sweeper
from postroad.store.access import Access, access_catalog
from postroad.store.builder import Builder
from postroad.store.catalog import FILE
from postroad.store.database import Database
from postroad.store.errors import SchemaError, StoreError, Untold
from postroad.store.place import store_url
from postroad.store.schema import upgrade

log = structlog.get_logger()

_AGAIN = 5.0  # seconds until a store that could not be opened is tried again
_DRAIN = 5.0  # seconds that requests under way get at the end


class KnownKeys:
    """The keys of the configuration that counts now, and those of the store."""

    def __init__(self, config: Callable[[], Config], access: Access) -> None:
        self._config = config
        self._access = access
        self._made_of: list[ApiKey] | None = None
        self._keys = ApiKeys([])

    def authenticate(self, authorization: bytes | None, peer: str) -> Key | AuthFailure:
        given = self._config().http.keys
        if given is not self._made_of:
            self._keys, self._made_of = ApiKeys(given, self._access.key), given
        return self._keys.authenticate(authorization, peer)


class OfficeKeeper:
    """folder: where the local sockets lie. ask: puts a verb of the console to the engines."""

    def __init__(
        self,
        data_dir: Path,
        folder: Path,
        config: Callable[[], Config],
        ask: Callable[..., Awaitable[Any]] | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._path = folder / CONTROL_API
        self._config = config
        self._ask = ask
        self._database: Database | None = None
        self._server: OfficeServer | None = None
        self._opening: asyncio.Task[None] | None = None
        self._builder: Builder | None = None
        self._working: list[asyncio.Task[None]] = []
        self._catalog = access_catalog(data_dir)

    @property
    def database(self) -> Database | None:
        """None while it could not be opened."""
        return self._database

    def start(self) -> None:
        self._opening = asyncio.ensure_future(self._open())

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._server is not None:
            await self._server.close(_DRAIN)
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        if self._builder is not None:
            await self._builder.close()
        if self._database is not None:
            await self._database.close()

    async def _open(self) -> None:
        told = ""
        while True:
            try:
                await self._serve()
            except (StoreError, SchemaError, OSError, ValueError) as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("alarm", alarm="no_store", text=f"the store can't be opened: {told}")
                await asyncio.sleep(_AGAIN)
            else:
                return

    async def _serve(self) -> None:
        options = self._config().store
        database = await Database.open(store_url(options, self._data_dir), timeout=options.timeout)
        builder = Builder(self._data_dir / FILE, database, self._tell)
        access = Access(self._catalog)
        try:
            done = await upgrade(database)
            if done.before != done.after:
                log.info("store", before=done.before, after=done.after)
            database.on_commit = builder.committed
            with contextlib.suppress(Untold):  # engines that are being started
                await builder.settle()
            office = Office(
                database,
                SystemClock(),
                self._config,
                KnownKeys(self._config, access),
                access,
                ask=self._ask,
                data_dir=self._data_dir,
            )
            server = OfficeServer(office, all_routes(office), self._path)
            await server.start()
        except BaseException:
            await builder.close()
            with contextlib.suppress(StoreError):
                await database.close()
            raise
        self._builder = builder
        sweeper = Sweeper(database, office.clock)
        self._working = [asyncio.ensure_future(builder.run()), asyncio.ensure_future(sweeper.run())]
        self._database, self._server = database, server

    async def _tell(self, seq: int) -> None:
        """Control itself, and all engines that are there, know what is in the catalog now. An engine that comes later
        reads all of it. Raises Untold: an engine is there and does not know."""
        await self._catalog.catch_up()
        if self._ask is None:
            return
        told = await self._ask("catalog", {})
        for number, refusal in told.refused.items():
            raise Untold(f"engine {number} can't read the catalog: {refusal}")
        behind = [number for number, known in told.answers.items() if known < seq]
        if behind:
            raise Untold(f"engine {behind[0]} finds another catalog")
