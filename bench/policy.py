"""CPU of ten hooks and ten rules a message through the intake, beside none: `python -m bench.policy`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from postroad.config.schema import RuleOptions
from postroad.message import Accepted, Body, Recipient, Refused, Rejection, Reply, Transaction
from postroad.policy import Hook, Hooks, Incoming, Intake, OneRecipient, Tempfail, load_rules

HEAD = (
    b"From: Sender <a@example.com>\r\nTo: Somebody <b@example.net>\r\nSubject: Twelve offers for you this week\r\n"
    b"Date: Tue, 24 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
)
LINE = b'    <td class=3D"offer">The quick brown fox jumps over the lazy dog.</td>\r\n'
BODY = Body(HEAD + LINE * ((10_240 - len(HEAD)) // len(LINE)), b"Received: x\r\n")
ABOUT = {"remote_addr": "192.0.2.1", "ehlo_domain": "client.example"}


class Nowhere:
    """Keeps nothing: what stands behind is not measured."""

    def refusal(self) -> Reply | None:
        return None

    def rejected(self, rejection: Rejection) -> None:
        raise AssertionError(f"nothing here is refused: {rejection}")

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        done(Accepted([1] * len(transaction.recipients)))


def envelope(facts: OneRecipient) -> Tempfail | None:
    """What most hooks do: look at the envelope, say nothing."""
    return Tempfail("no") if facts.domain == "closed.example" or facts.sender.endswith("@closed.example") else None


def header(facts: Incoming) -> Tempfail | None:
    return Tempfail("no") if (facts.content.get("Subject") or "").startswith("closed") else None


def mark(facts: OneRecipient) -> None:
    facts.context["seen"] = "1"


def change(facts: Incoming) -> None:
    facts.content.add("X-Seen", "1")


async def waits(facts: OneRecipient) -> None:
    await asyncio.sleep(0)


def rules(when: str, phase: str = "each_recipient") -> list[Hook]:
    return load_rules([RuleOptions(phase=phase, when=when, action="tempfail") for _ in range(10)])


CASES: dict[str, list[Hook]] = {
    "none": [],
    "ten hooks that look at the envelope": [Hook("h", "each_recipient", envelope) for _ in range(10)],
    "ten hooks that read a header field": [Hook("h", "message", header) for _ in range(10)],
    "ten hooks that set a context": [Hook("h", "set_binding", mark) for _ in range(10)],
    "one hook that adds a header field": [Hook("h", "message", change)],
    "ten async hooks": [Hook("h", "each_recipient", waits) for _ in range(10)],
    "ten rules on the envelope": rules("sender_domain == 'closed.example'"),
    "ten rules on the envelope, of three names": rules("domain == 'c.example' && sender == 'x' && size > 99999999"),
    "ten rules on a header field": rules("header('Subject').startsWith('closed')", "message"),
}
_AT_ONCE = 200


async def run(hooks: Hooks, recipients: int, seconds: float = 1.0) -> float:
    """Microseconds of CPU a message, all threads: the best of five runs."""
    intake = Intake(Nowhere(), lambda: hooks, "")
    to = [Recipient(f"r{number}@x.example", "x.example") for number in range(recipients)]
    loop = asyncio.get_running_loop()

    async def many() -> None:
        waiting = []
        for _ in range(_AT_ONCE):
            done: asyncio.Future[Accepted | Refused] = loop.create_future()
            intake.accept(Transaction("a@s.example", to, BODY, connection=ABOUT, id=1), done.set_result)
            waiting.append(done)
        await asyncio.gather(*waiting)

    await many()
    best = float("inf")
    for _ in range(5):
        count, begin = 0, time.process_time()
        while time.process_time() - begin < seconds / 5:
            await many()
            count += _AT_ONCE
        best = min(best, (time.process_time() - begin) / count)
    return best * 1e6


def main() -> None:
    print(f"{'10 KB, microseconds of CPU a message':44}{'1 recipient':>14}{'10 recipients':>16}")
    for name, chain in CASES.items():
        figures = [asyncio.run(run(Hooks(chain), recipients)) for recipients in (1, 10)]
        print(f"{name:44}{figures[0]:14.1f}{figures[1]:16.1f}")
        failed = [hook.name for hook in chain if hook.errors]
        assert not failed, failed


if __name__ == "__main__":
    main()
