"""The catalog as an engine reads it: what it needs to know of the store, in its memory, without SQL."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from postroad.store.catalogfile import HEAD_SIZE, File, Head, end, read_head, records
from postroad.store.suppressions import KIND as SUPPRESSION
from postroad.store.suppressions import Suppressions
from postroad.store.views import Placed, Values, View

FILE = "catalog"  # in the data folder
_SLICE = 500  # records read before the loop gets its turn: some milliseconds


class Catalog:
    """path: of the file, which need not be there yet. special: kinds that are held otherwise than as Values. only:
    kinds that are held at all; None: every one that comes."""

    def __init__(
        self, path: Path, special: Mapping[str, Callable[[], View]], only: Collection[str] | None = None
    ) -> None:
        self.seq = 0
        self.head: Head | None = None
        self._path = path
        self._special = special
        self._only = only
        self._file: File | None = None
        self._offset = 0
        self._views: dict[str, View] = {}
        self._turn = asyncio.Lock()

    def view(self, kind: str) -> View:
        """Ask again each time: after the file was written anew it is another object."""
        found = self._views.get(kind)
        if found is None:
            found = self._made(kind)
            self._views[kind] = found
        return found

    def values(self, kind: str) -> Values:
        found = self.view(kind)
        assert isinstance(found, Values)
        return found

    def placed(self, kind: str) -> Placed:
        found = self.view(kind)
        assert isinstance(found, Placed)
        return found

    @property
    def suppressions(self) -> Suppressions:
        found = self.view(SUPPRESSION)
        assert isinstance(found, Suppressions)
        return found

    def load(self) -> int:
        """Read all there is, at the start; the number of the last change. Raises OSError."""
        fresh = self._read_anew()
        if fresh is not None:
            self._take(fresh)
        return self.seq

    async def catch_up(self) -> int:
        """Read what came since; the number of the last change. A file that was written anew is read in a thread, and
        what was known counts until it is through. Raises OSError."""
        async with self._turn:
            if self._is_other():
                fresh = await asyncio.get_running_loop().run_in_executor(None, self._read_anew)
                if fresh is not None:
                    self._take(fresh)
            more = True
            while more:
                more = self._read_on(_SLICE)
                await asyncio.sleep(0)  # mail goes on beside a large import
            return self.seq

    def _is_other(self) -> bool:
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            return False  # what is known stays; control makes another
        return self._file is None or (stat.st_dev, stat.st_ino) != self._file.name

    def _read_anew(self) -> Catalog | None:
        try:
            file = File(self._path)
        except FileNotFoundError:
            return None
        head = read_head(file.fd)
        if head is None:  # damaged, or of another version: control makes it anew
            return None
        fresh = Catalog(self._path, self._special, self._only)
        # Views that somebody holds already, of kinds that may come later.
        fresh._views = {kind: view.fresh(head, file) for kind, view in list(self._views.items())}
        fresh._file, fresh._offset = file, HEAD_SIZE
        fresh.head, fresh.seq = head, head.seq
        fresh._read_on()
        return fresh

    def _take(self, fresh: Catalog) -> None:
        self._file, self.head, self.seq = fresh._file, fresh.head, fresh.seq
        self._offset, self._views = fresh._offset, fresh._views

    def _read_on(self, most: int | None = None) -> bool:
        """So many records at most; whether there are more."""
        if self._file is None:
            return False
        for count, (record, place) in enumerate(records(self._file.fd, self._offset)):
            if count == most:
                return True
            self._offset = end(place)
            self.seq = max(self.seq, record.seq)
            kind = record.kind
            if self._only is not None and kind not in self._only:
                continue
            view = self._views.get(kind)
            if view is None:
                view = self._views[kind] = self._made(kind)
            if record.gone:
                view.drop(record.subaccount, record.key)
            else:
                view.put(record.subaccount, record.key, bytes(record.value), place)
        return False

    def _made(self, kind: str) -> View:
        made = self._special.get(kind, Values)()
        return made if self.head is None or self._file is None else made.fresh(self.head, self._file)

    def kinds(self) -> Iterator[tuple[str, int]]:
        """What is held, and how many of each."""
        for kind, view in sorted(self._views.items()):
            count: Any = getattr(view, "__len__", None)
            yield kind, 0 if count is None else count()
