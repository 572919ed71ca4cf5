"""The server's secret in a file of its own: sealed keys of the store open with it, and with nothing else.

Control makes the file when it seals the first key; engines only read it. Machines that share a database must share it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from postroad.auth.dkim.sealed import MIN_SECRET, SealError

FILE = "dkim.secret"  # in the data folder


def read_secret(path: Path) -> bytes:
    """Raises SealError; the message names the file and holds nothing secret."""
    try:
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except OSError as error:
        raise SealError(f"{path.name}: {error.strerror}") from None
    except ValueError:
        raise SealError(f"{path.name} is not hexadecimal") from None
    if len(secret) < MIN_SECRET:
        raise SealError(f"{path.name} holds {len(secret)} octets; {MIN_SECRET} are the least")
    return secret


def own_secret(path: Path) -> bytes:
    """The secret, made when there is none yet: whole and synced under its name, or not there. Raises SealError."""
    if not path.exists():
        made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(MIN_SECRET))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was faster: its secret counts
                os.link(made, path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise SealError(f"{path.name} can't be written: {error.strerror}") from None
        finally:
            made.unlink(missing_ok=True)
    return read_secret(path)
