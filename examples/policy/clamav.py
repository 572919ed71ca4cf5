"""Content check with ClamAV: the message is sent to clamd over TCP (its command INSTREAM) and refused when it finds
something.

    [[policy]]
    file = "clamav.py"
    time_limit = "20s"
    on_error = "tempfail"               # while clamd is away, clients come again; "continue" takes mail unchecked
    options = { host = "127.0.0.1", port = 3310 }
"""

import asyncio
import re

import msgspec

from postroad.policy import Incoming, Kit, OneRecipient, Reject

CHUNK = 64 * 1024
MAX_ANSWER = 4096
FOUND = re.compile(r"stream: (.{1,200}) FOUND")


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """max_size: octets; larger messages are taken unchecked, since clamd hangs up on what is above its StreamMaxLength
    (25 MB unless its configuration says otherwise)."""

    host: str = "127.0.0.1"
    port: int = 3310
    max_size: int = 25_000_000


class Policy:
    def __init__(self, kit: Kit) -> None:
        self._options: Options = kit.options
        self._log = kit.log

    async def message(self, facts: Incoming) -> Reject | None:
        return await self._check(facts, facts.content.octets)

    async def generated(self, facts: OneRecipient) -> Reject | None:
        return await self._check(facts, facts.content.octets)

    async def _check(self, facts: Incoming | OneRecipient, octets: bytes) -> Reject | None:
        if len(octets) > self._options.max_size:
            facts.context["clamav"] = "too large"
            return None
        answer = await self._ask(octets)
        if answer == "stream: OK":
            facts.context["clamav"] = "clean"
            return None
        if found := FOUND.fullmatch(answer):
            self._log.warning("virus", sender=facts.sender, found=found[1])
            name = "".join(c for c in found[1] if c.isascii() and c.isprintable())
            return Reject(f"5.7.1 this message contains {name}", 554)
        raise RuntimeError(f"clamd says {answer!r}")  # a hook that failed: on_error says what becomes of the message

    async def _ask(self, octets: bytes) -> str:
        """clamd(8): `z` ends commands and answers by NUL; chunks have their length in front; an empty one ends."""
        reader, writer = await asyncio.open_connection(self._options.host, self._options.port)
        try:
            writer.write(b"zINSTREAM\0")
            for at in range(0, len(octets), CHUNK):
                chunk = octets[at : at + CHUNK]
                writer.write(len(chunk).to_bytes(4, "big") + chunk)
                await writer.drain()
            writer.write(bytes(4))
            await writer.drain()
            answer = await reader.readuntil(b"\0")
        except asyncio.IncompleteReadError as error:
            raise RuntimeError(f"clamd hung up after {error.partial[:100]!r}") from error
        finally:
            writer.close()
        return answer[:MAX_ANSWER].rstrip(b"\0").decode(errors="replace")
