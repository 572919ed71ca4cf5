"""Control's side of the catalog: what was committed is folded into the file, and the engines are told.

The file is made from SQL alone, so it may be lost: it is made anew when it is gone, damaged, of another database, or
behind what `changes` still tells. After a kill between commit and append the rest of `changes` is folded at the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.catalogfile import HEAD_SIZE, Head, end, pack_head, pack_record, read_head, records, sync_folder
from postroad.store.database import Database
from postroad.store.errors import StoreError, StoreFull, Untold
from postroad.store.kind import CHUNK, Id, Kind
from postroad.store.kinds import KINDS
from postroad.store.tables.changes import changes, identity

log = structlog.get_logger()

_FOLD = 10_000  # changes folded at once
_GROWTH = 4 << 20  # octets by which a file may grow at least before it is written anew
_KEPT = 3_600_000  # milliseconds that lines are kept for other nodes
_LOOK = 5.0  # seconds until we look again for what others wrote, and for what went wrong

Tell = Callable[[int], Awaitable[None]]


class Builder:
    """path: of the file. tell(seq): have the engines that are there catch up to seq; what it raises is said to whoever
    waits, and tried again. `committed` belongs into Database.on_commit, and `run` into a task of its own."""

    def __init__(
        self, path: Path, database: Database, tell: Tell, kinds: Sequence[Kind] = KINDS, *, growth: int = _GROWTH
    ) -> None:
        self.seq = 0
        self._path = path
        self._database = database
        self._tell = tell
        self._kinds = {kind.name: kind for kind in kinds}
        self._growth = growth
        self._fd = -1
        self._head = Head(b"", b"", 0)
        self._size = 0
        self._made_size = 0
        self._told = 0
        self._turn = asyncio.Lock()

    async def committed(self, seq: int) -> None:
        """For Database.on_commit. Raises as `settle`."""
        if seq > self._told:
            await self.settle()

    async def settle(self) -> int:
        """What is committed now is in the catalog and known to all engines; the number of the last change. Raises
        StoreError: Untold when only engines are missing."""
        async with self._turn:
            await self._fold()
            if self._told < self.seq:
                try:
                    await self._tell(self.seq)
                except StoreError:
                    raise
                except Exception as error:
                    raise Untold(f"an engine does not answer; what was changed is kept: {error}") from error
                self._told = self.seq
            return self.seq

    async def run(self) -> None:
        """Fold what nobody waits for: writes of other nodes and of commands, and what failed before."""
        troubled = False
        while True:
            try:
                await self.settle()
                await self._shrink()
                troubled = False
            except (StoreError, OSError, ValueError) as error:
                if not troubled:
                    log.warning("alarm", alarm="catalog", text=f"engines can't be told what changed: {error}")
                troubled = True
            await asyncio.sleep(_LOOK)

    async def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _fold(self) -> None:
        """Append what is new in `changes`."""
        if not self._is_ours():
            await self._open()
        more = True
        while more:
            async with self._database.read() as connection:
                low = (await connection.execute(select(func.min(changes.c.seq)))).scalar()
                if low is not None and low > self.seq + 1:
                    break  # another node trimmed lines that we have not seen, as we were away for long
                query = select(changes).where(changes.c.seq > self.seq).order_by(changes.c.seq).limit(_FOLD)
                rows = (await connection.execute(query)).all()
                octets = await self._packed(connection, rows)
            if rows:
                self._append(octets)
                self.seq = rows[-1].seq
            more = len(rows) == _FOLD
        else:
            return
        await self._rewrite(self._head.database)

    async def _packed(self, connection: AsyncConnection, rows: Sequence[Any]) -> bytes:
        """Records for these changes, in their order; of several changes of an object one, at the last one's place."""
        last: dict[tuple[str, int, str], Any] = {}
        for row in rows:
            name = row.kind, row.subaccount, row.key
            last.pop(name, None)
            last[name] = row
        by_kind: dict[str, list[Id]] = {}
        for kind, subaccount, key in last:
            by_kind.setdefault(kind, []).append((subaccount, key))
        values: dict[str, dict[Id, Any]] = {}
        for kind, ids in by_kind.items():
            found = values[kind] = {}
            known = self._kinds.get(kind)
            if known is None:
                continue  # of interest to somebody else; the record says that something happened
            for at in range(0, len(ids), CHUNK):
                found.update(await known.load(connection, ids[at : at + CHUNK]))
        return b"".join(
            pack_record(row.seq, row.at, kind, subaccount, key, values[kind].get((subaccount, key)))
            for (kind, subaccount, key), row in last.items()
        )

    def _append(self, octets: bytes) -> None:
        """Whole or not at all. Raises StoreFull."""
        try:
            done = 0
            while done < len(octets):
                done += os.pwrite(self._fd, octets[done:], self._size + done)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise StoreFull(f"the catalog {self._path} can't be written: {error}") from error
        self._size += len(octets)

    def _is_ours(self) -> bool:
        """Is the file that we append to the one that engines find?"""
        if self._fd < 0:
            return False
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        ours = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    # --- the beginning ------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Go on with the file that is there, or make one."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        async with self._database.read() as connection:
            database = await _identity(connection)
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                fd = -1
            if fd >= 0:
                if await self._go_on(connection, fd, database):
                    return
                os.close(fd)
                log.info("catalog", text="it is made anew")
        await self._rewrite(database)

    async def _go_on(self, connection: AsyncConnection, fd: int, database: bytes) -> bool:
        head = read_head(fd)
        if head is None or head.database != database:
            return False
        seq, at, offset = await asyncio.get_running_loop().run_in_executor(None, _survey, fd, head)
        if not await _follows(connection, seq, at):
            return False
        if os.fstat(fd).st_size > offset:
            return False  # torn or damaged: engines may have read on where we would cut
        self._fd, self._head, self._size, self._made_size, self.seq = fd, head, offset, offset, seq
        return True

    # --- written anew -------------------------------------------------------------------------------------------------

    async def _shrink(self) -> None:
        if self._size > 2 * self._made_size + self._growth:
            await self._rewrite(self._head.database, shrinking=True)

    async def _rewrite(self, database: bytes, *, shrinking: bool = False) -> None:
        """All there is, from SQL, into another file; then what was changed meanwhile; then it takes the old one's
        place. Nobody who writes waits for the first part."""
        path = self._path.with_name(f"{self._path.name}.{'shrunk' if shrinking else 'new'}")
        before = self._head
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreFull(f"the catalog {path} can't be written: {error}") from error
        try:
            head, size = await self._written(fd, database)
            async with self._turn if shrinking else contextlib.nullcontext():
                if self._head is not before:
                    os.close(fd)  # it was made anew while we made it smaller
                    path.unlink(missing_ok=True)
                    return
                os.fsync(fd)
                os.rename(path, self._path)
                sync_folder(self._path.parent)
                old, self._fd = self._fd, fd
                self._head, self._size, self._made_size, self.seq = head, size, size, head.seq
                self._told = 0  # engines have to come over
                if old >= 0:
                    os.close(old)
                if shrinking:
                    await self._fold()
        except BaseException as error:
            if self._fd != fd:
                os.close(fd)
                path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise StoreFull(f"the catalog {path} can't be written: {error}") from error
            raise
        await self._trim(head.seq)

    async def _written(self, fd: int, database: bytes) -> tuple[Head, int]:
        loop = asyncio.get_running_loop()
        async with self._database.read() as connection:
            query = select(changes.c.seq, changes.c.at).order_by(changes.c.seq.desc()).limit(1)
            seq, at = (await connection.execute(query)).one_or_none() or (0, 0)
            head = Head(database, secrets.token_bytes(16), seq, at)
            with os.fdopen(os.dup(fd), "wb") as file:
                file.write(pack_head(head))
                for kind in self._kinds.values():
                    everything = kind.everything(connection)
                    if kind.packed is None:
                        async for (subaccount, key), value in everything:
                            file.write(pack_record(0, 0, kind.name, subaccount, key, value))
                        continue
                    entries = [(subaccount, key, value) async for (subaccount, key), value in everything]
                    pieces = await loop.run_in_executor(None, list, kind.packed(head.secret, entries))
                    for piece in pieces:
                        file.write(pack_record(0, 0, kind.name, 0, "", piece))
                size = file.tell()
        return head, size

    async def _trim(self, seq: int) -> None:
        """What is in a catalog that is synced needs no line any more; the last line stays, to compare with. Another
        node that is far behind makes its catalog anew."""
        old = changes.c.seq < seq
        if not self._database.is_sqlite:
            old &= changes.c.at < time.time_ns() // 1_000_000 - _KEPT
        async with self._database.begin() as tx:
            await tx.execute(delete(changes).where(old))


def _survey(fd: int, head: Head) -> tuple[int, int, int]:
    """(seq and at of the last whole record, where it ends)."""
    seq, at, offset = head.seq, head.at, HEAD_SIZE
    for record, place in records(fd, HEAD_SIZE):
        offset = end(place)
        if record.seq:
            seq, at = record.seq, record.at
    return seq, at, offset


async def _identity(connection: AsyncConnection) -> bytes:
    return bytes.fromhex((await connection.execute(select(identity.c.id))).scalar_one())


async def _follows(connection: AsyncConnection, seq: int, at: int) -> bool:
    """Do the lines of `changes` go on where a catalog at `seq` ends? Not when lines between were trimmed, nor when an
    older copy of the database was brought back."""
    low, high = (await connection.execute(select(func.min(changes.c.seq), func.max(changes.c.seq)))).one()
    if high is None:
        return seq == 0
    if seq > high or seq < low - 1:
        return False
    if at == 0 or seq < low:
        return True
    return bool((await connection.execute(select(changes.c.at).where(changes.c.seq == seq))).scalar() == at)
