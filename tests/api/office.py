"""The management API as control serves it, on its real local socket, over a database of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from postroad.api.local import PEER
from postroad.api.office import Office
from postroad.api.office_server import OfficeServer
from postroad.api.resources import all_routes
from postroad.api.route import Route
from postroad.auth import AuthFailure, Key
from postroad.config.schema import Config
from postroad.net import SystemClock
from postroad.store.database import Database
from tests.api.harness import Answer

MASTER_KEY = "m" * 40  # may everything
SUBACCOUNTS = {7: "active", 8: "active", 9: "suspended", 10: "terminated"}


def key_of(subaccount: int) -> str:
    """The key of one of SUBACCOUNTS. It may everything, too: what keeps it from others' objects is not its grants."""
    return f"{subaccount:040d}"


class FixedKeys:
    """MASTER_KEY, those of SUBACCOUNTS, and what is added to `more`."""

    def __init__(self) -> None:
        everything = frozenset(("admin",))
        self.more: dict[str, Key] = {}
        self._known = {MASTER_KEY: Key("master", everything)}
        self._known |= {key_of(n): Key(f"of {n}", everything, n) for n in SUBACCOUNTS}

    def authenticate(self, authorization: bytes | None, peer: str) -> Key | AuthFailure:
        del peer
        presented = (authorization or b"").decode("latin-1")
        return self._known.get(presented) or self.more.get(presented) or AuthFailure.UNAUTHORIZED


class FixedSubaccounts:
    def status(self, number: int) -> str | None:
        return SUBACCOUNTS.get(number)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


class OfficeClient:
    """http.client over the local socket, in a thread. key, subaccount: of every request that does not say another."""

    def __init__(self, path: Path, key: str | None = MASTER_KEY) -> None:
        self._path = path
        self.key = key

    def of(self, subaccount: int) -> OfficeClient:
        """The same API for the key of this subaccount."""
        return OfficeClient(self._path, key_of(subaccount))

    async def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        subaccount: int | str | None = None,
        headers: dict[str, str] | None = None,
        whole: bool = False,
    ) -> Answer:
        """path: below /api/v1, or whole: where it begins with /api/ or `whole` says so. body: octets as they
        are, everything else as JSON. subaccount: for the field X-MSYS-SUBACCOUNT."""
        fields = {PEER.decode(): "192.0.2.1"}
        if self.key is not None:
            fields["Authorization"] = self.key
        if subaccount is not None:
            fields["X-MSYS-SUBACCOUNT"] = str(subaccount)
        octets = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if octets is not None:
            fields["Content-Type"] = "application/json"
        place = path if whole or path.startswith("/api/") else f"/api/v1{path}"
        return await asyncio.to_thread(self._request, method, place, octets, {**fields, **(headers or {})})

    def _request(self, method: str, path: str, body: bytes | None, fields: dict[str, str]) -> Answer:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, path, body, fields)
            response = connection.getresponse()
            raw = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
            is_json = found.get("content-type", "") == "application/json" and "content-encoding" not in found
            return Answer(response.status, found, json.loads(raw) if raw and is_json else raw or None)
        finally:
            connection.close()


class Open(NamedTuple):
    """An office that is open. api("GET", "/account") asks it."""

    office: Office
    keys: FixedKeys
    api: OfficeClient
    path: Path


@asynccontextmanager
async def opened(
    database: Database, folder: Path, *, routes: Iterable[Route[Any, Any]] | None = None, config: Config | None = None
) -> AsyncIterator[Open]:
    """routes: None takes all there are."""
    keys = FixedKeys()
    settings = config or Config()
    office = Office(database, SystemClock(), lambda: settings, keys, FixedSubaccounts(), data_dir=folder)
    path = folder / "http.sock"
    server = OfficeServer(office, all_routes(office) if routes is None else routes, path)
    await server.start()
    try:
        yield Open(office, keys, OfficeClient(path), path)
    finally:
        await server.close()
