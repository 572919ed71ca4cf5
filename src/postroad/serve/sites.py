"""Where tracked links lead, by the configuration, and the keys that sign them: a file in the data folder."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from postroad.generate import Site
from postroad.message.links import LinkKeys

FILE = "link.keys"  # in the data folder
_LARGEST = 64 * 1024  # octets of the file


class KeysError(Exception):
    """The file of the keys can't be used; str() names it and says why."""


def link_keys(folder: Path) -> LinkKeys:
    """Those of the file, one a line, `NUMBER HEXADECIMAL`; the last one signs. The first server to ask makes the file.

    Raises KeysError.
    """
    path = folder / FILE
    try:
        if not path.exists():
            _make(path)
        with path.open("rb") as file:
            text = file.read(_LARGEST).decode("ascii")
        keys = {int(number): bytes.fromhex(secret) for number, secret in (line.split() for line in text.splitlines())}
        return LinkKeys(keys, next(reversed(keys)))
    except (OSError, ValueError, StopIteration) as error:
        # Not the error's own text where it could hold a line of the file.
        reason = (
            error.strerror if isinstance(error, OSError) else "its lines must be a number and 32 or more hex digits"
        )
        raise KeysError(f"{path}: {reason}") from None


def _make(path: Path) -> None:
    """Whole or not at all, whoever else does the same at this moment."""
    new = path.with_name(f"{FILE}.{secrets.token_hex(8)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"1 {secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink()


class OneSite:
    """All links lead to one place (serve.stock.Sites)."""

    def __init__(self, base: str, keys: LinkKeys) -> None:
        """base: see generate.Site."""
        self._site = Site(base, keys)
        self._host = base.partition("://")[2]

    def site(self, subaccount: int, sending_domain: str) -> Site | None:
        return self._site

    def tracking_domain(self, subaccount: int, domain: str) -> Site | None:
        return self._site if domain.lower() == self._host else None
