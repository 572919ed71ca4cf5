"""A client that injects letters over HTTP, one transmission each, and remembers what it was told about them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from random import Random

from postroad.lab.sim.letters import Letter
from postroad.lab.sim.loop import SimLoop
from postroad.lab.sim.process import Process
from postroad.lab.sim.sender import Fate, Submission


@dataclass
class HttpSender:
    """give_up: chance of dropping the connection in the middle of the request. The rest is as in SmtpSender."""

    process: Process
    rng: Random
    host: str
    port: int
    key: str
    give_up: float = 0.0
    patience: float = 400.0
    pause: tuple[float, float] = (0.5, 20.0)
    pace: float = 0.0
    tries: int = 30
    submissions: list[Submission] = field(default_factory=list)

    @property
    def loop(self) -> SimLoop:
        return self.process.loop

    def send(self, letters: list[Letter]) -> asyncio.Task[None]:
        """All of them, one after the other, as a task of the client's process."""
        return self.process.start(self._send(letters))

    async def _send(self, letters: list[Letter]) -> None:
        for letter in letters:
            submission = Submission(letter, dict.fromkeys(letter.recipients, Fate.NEVER))
            self.submissions.append(submission)
            for _ in range(self.tries):
                if await self._post(submission):
                    break
                await asyncio.sleep(self.rng.uniform(*self.pause))
            await asyncio.sleep(self.rng.random() * 2 * self.pace)

    async def _post(self, submission: Submission) -> bool:
        """One request on a connection of its own. False: try again."""
        letter = submission.letter
        body = json.dumps(
            {
                "recipients": [{"address": {"email": name}} for name in letter.recipients],
                "content": {"email_rfc822": letter.content.decode()},
                "return_path": letter.sender,
                "campaign_id": "simulated",
            }
        ).encode()
        head = (
            f"POST /api/v1/transmissions HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode()
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self.patience):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                half = self.rng.randrange(len(body))
                writer.write(head + body[:half])
                await writer.drain()
                if self.rng.random() < self.give_up:
                    return False
                submission.fates = dict.fromkeys(letter.recipients, Fate.MAYBE)
                writer.write(body[half:])
                reply = await reader.read()
        except (OSError, TimeoutError):
            reply = b""
        finally:
            if writer is not None:
                writer.transport.abort()
        return self._learn(submission, reply)

    def _learn(self, submission: Submission, reply: bytes) -> bool:
        fates = submission.fates
        status, _, rest = reply.partition(b"\r\n")
        submission.replies.append(status.decode("latin-1"))
        words = status.split()
        length = rest.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        body = rest.partition(b"\r\n\r\n")[2]
        if len(words) < 2 or not length or len(body) < int(length):
            return Fate.MAYBE in fates.values()  # no whole reply: if the request went out, nobody knows
        results = json.loads(body).get("results", {})
        if words[1] != b"200":
            submission.fates = dict.fromkeys(fates, Fate.NEVER)
            return words[1].startswith(b"4") and words[1] != b"429"
        if not results.get("total_rejected_recipients"):
            submission.fates = dict.fromkeys(fates, Fate.KEPT)
            submission.kept_at = self.loop.time()
        return True
