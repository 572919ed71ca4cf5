"""ARC seals (RFC 8617) on what is relayed: an Acceptor behind the hooks and before the DKIM signatures.

A listener with `arc_seal` tells the next hand what it found, sealed: then changes on the way need not cost the message
what its author's signature was worth.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from postroad.auth.arc import ArcOutcome, ChainResult, seal
from postroad.auth.dkim import Algorithm, PrivateKey
from postroad.auth.dkim.verify import Broken
from postroad.config.schema import Config, ListenerOptions
from postroad.message import Accepted, Acceptor, Body, Refused, Rejection, Reply, Transaction
from postroad.policy.checks import FOUND, authserv_id
from postroad.policy.signing import KeyRing


class Sealing:
    """name: the authserv-id, whose domain's key seals. ring(): the keys of the present generation."""

    def __init__(self, acceptor: Acceptor, name: str, ring: Callable[[], KeyRing], wall: Callable[[], float]) -> None:
        self._acceptor = acceptor
        self._name = name
        self._ring = ring
        self._wall = wall
        self.sealed = 0
        self.unsealed = 0  # without a key, with a chain that is over, or unreadable by now

    def refusal(self) -> Reply | None:
        return self._acceptor.refusal()

    def rejected(self, rejection: Rejection) -> None:
        self._acceptor.rejected(rejection)

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        noted = transaction.context.get(FOUND)
        if noted is None:
            self._acceptor.accept(transaction, done)
            return
        # Another dict: the parts of one transaction share theirs.
        transaction.context = {name: value for name, value in transaction.context.items() if name != FOUND}
        key = self._key()
        if key is None:
            self._sealed(transaction, b"", done)
        elif key.algorithm is Algorithm.RSA:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(None, _fields, transaction.body.content, key, noted, self._wall())
            future.add_done_callback(lambda made: self._sealed(transaction, made.result(), done))
        else:
            self._sealed(transaction, _fields(transaction.body.content, key, noted, self._wall()), done)

    def _key(self) -> PrivateKey | None:
        """RSA where there is one: few who check ARC know Ed25519."""
        signer = self._ring().signer(self._name)
        if signer is None:
            return None
        return next((key for key in signer.keys if key.algorithm is Algorithm.RSA), signer.keys[0])

    def _sealed(self, transaction: Transaction, fields: bytes, done: Callable[[Accepted | Refused], None]) -> None:
        if fields:
            body = transaction.body
            transaction.body = Body(body.content, fields + body.trace, dotted=body.dotted)
            self.sealed += 1
        else:
            self.unsealed += 1
        self._acceptor.accept(transaction, done)


def _fields(content: bytes, key: PrivateKey, noted: str, now: float) -> bytes:
    """To put in front; b"" when the chain can't be gone on with, for instance because a hook broke it."""
    try:
        result, instances, ended, results = json.loads(noted)
        previous = ArcOutcome(ChainResult(result), instances=instances, ended=ended)
        return seal(content, key, results.encode("ascii"), previous, now=now)
    except (ValueError, Broken):
        return b""


def sealing(
    acceptor: Acceptor, options: ListenerOptions, config: Config, ring: Callable[[], KeyRing], wall: Callable[[], float]
) -> Acceptor:
    """The acceptor for a listener with these options."""
    return Sealing(acceptor, authserv_id(options, config), ring, wall) if options.arc_seal else acceptor
