"""What an event costs to encode, in microseconds of CPU: `python -m bench.events`. Mark: 3 us each."""

from __future__ import annotations

import time
from collections.abc import Callable

from postroad.events import EventEncoder
from postroad.message import Body, Outcome, Recipient, Reply, Stage, Transaction, Verdict

ROUNDS, CALLS = 5, 50_000
WALL = 1_790_000_000.25
ID = 0x04A1B2C3D4000001
CONTENT = (
    b"Received: from a.example ([192.0.2.1])\r\n\tby b.example with ESMTP id 1;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
    b"List-Unsubscribe: <https://a.example/unsubscribe/4711>\r\nMessage-ID: <4711@a.example>\r\n"
    b"From: The News <news@a.example>\r\nTo: x@b.example\r\nSubject: =?utf-8?q?Your_order_n=C2=B0_4711?=\r\n\r\n"
) + b"All work and no play makes Jack a dull boy.\r\n" * 220


def main() -> None:
    encoder = EventEncoder()
    transaction = Transaction("bounce-4711@a.example", [], Body(CONTENT), event={"campaign_id": "spring"})
    recipient = Recipient("X@b.example", "b.example", event={"rcpt_meta": {"customer": "4711"}, "rcpt_tags": ["gold"]})
    shared = encoder.shared(transaction, WALL)
    common = encoder.common(shared, ID, recipient)
    where = ("mx1.b.example", "198.51.100.7", "192.0.2.4")
    taken = Outcome(Verdict.DELIVERED, Reply(250, "2.0.0 Ok: queued as 4711"), Stage.CONFIRMATION, *where)
    refused = Outcome(Verdict.FAILED, Reply(550, "5.7.1 [192.0.2.4] is listed"), Stage.RCPT, *where)
    calls: dict[str, Callable[[], object]] = {
        "shared (once a transaction)": lambda: encoder.shared(transaction, WALL),
        "common (once a message)": lambda: encoder.common(shared, ID, recipient),
        "injection": lambda: encoder.injection(common, ID, WALL, "default"),
        "delivery": lambda: encoder.delivery(common, ID, WALL, taken, 1, 160, "default"),
        "delay": lambda: encoder.delay(common, ID, WALL, refused, 1, 160, "default", WALL + 1200),
        "bounce": lambda: encoder.bounce(common, ID, WALL, refused, 1, 160, "default"),
    }
    for name, call in calls.items():
        print(f"{name:28} {_microseconds(call):6.2f} us")
    print(f"{'octets of a delivery event':28} {len(encoder.delivery(common, ID, WALL, taken, 1, 160, 'default')):6}")


def _microseconds(call: Callable[[], object]) -> float:
    """CPU of one call: the best of some rounds, for the others were disturbed."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(CALLS):
            call()
        best = min(best, time.process_time() - started)
    return best / CALLS * 1e6


if __name__ == "__main__":
    main()
