"""Establishing one connection: down the plan until some host greets us and answers EHLO."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from postroad.deliver.connection import Connection
from postroad.deliver.plan import Target
from postroad.deliver.steps import Result
from postroad.message import Reply, Stage, Verdict

# Our own want of something (descriptors, memory): no host has failed, and no attempt was made.
OWN_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Failed(NamedTuple):
    """A target that gave no session."""

    target: Target
    source: str
    result: Result


async def dial(
    targets: Sequence[Target],
    port: int,
    *,
    source: Callable[[str], str],
    timeout: float,
    admit: Callable[[Target], bool],
    make: Callable[[Target, str], Connection],
    lower: Callable[[Connection], bool],
    left: Callable[[Target], None],
    failed: Callable[[Failed], None],
) -> bool:
    """True when a session is established (its owner knows the connection by then), False when no target gave one.

    source: the local address to use for a remote one, "" for the system's choice. timeout: seconds for each TCP
    connection. admit: may a connection go there now? Those that may not are passed over. lower: this connection
    failed; would one that asks for less encryption do? Then `make` makes such a one. left: no session came of one that
    was admitted. failed: told of each target that failed, in order. A cancelled dial leaves no connection behind.
    Raises OSError (OWN_TROUBLE) when it is us who can't open a connection now.
    """
    for target in targets:
        if not admit(target):
            continue
        local = "" if target.address.startswith("/") else source(target.address)
        connection = make(target, local)
        try:
            result = await _connect(connection, target.port or port, timeout)
            while result is not None and lower(connection):
                connection = make(target, local)
                result = await _connect(connection, target.port or port, timeout)
        except BaseException:
            if not connection.established:
                connection.abort()
                asyncio.get_running_loop().call_soon(left, target)  # it is gone in the loop's next turn, not before
            raise
        if result is None:
            return True
        left(target)
        failed(Failed(target, connection.source, result))
    return False


async def _connect(connection: Connection, port: int, timeout: float) -> Result | None:
    """None when the session is established."""
    address = connection.target.address
    local = (connection.source, 0) if connection.source else None
    place = address if address.startswith("/") else f"{address} port {port}"
    try:
        async with asyncio.timeout(timeout):
            loop = asyncio.get_running_loop()
            if address.startswith("/"):
                await loop.create_unix_connection(lambda: connection, address)
            else:
                await loop.create_connection(lambda: connection, address, port, local_addr=local)
    except TimeoutError:
        connection.abort()
        return _unreached(f"no connection to {place} within {timeout:g} s")
    except (OSError, ValueError) as error:  # ValueError: the address is none
        connection.abort()
        number = getattr(error, "errno", None)
        if number in OWN_TROUBLE:
            raise
        why = os.strerror(number) if number else str(error)
        return _unreached(f"no connection to {place}{f' from {local[0]}' if local else ''}: {why}")
    return await connection.opened


def _unreached(text: str) -> Result:
    return Result(Verdict.DEFERRED, Reply(451, f"4.4.1 {text}"), Stage.NOT_CONNECTED, internal=True)
