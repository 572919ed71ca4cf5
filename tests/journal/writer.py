"""A process that uses a journal on a real disk until it is killed: python -m tests.journal.writer DIR FIRST DURABILITY.

It prints one line a promise, unbuffered: "a ID" acknowledged, "t ID" its end was committed, "s ID N" its state N was.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from random import Random
from typing import cast

from postroad.config.schema import Durability
from postroad.journal import ACCEPTED, Event, Journal, JournalError, Mail
from postroad.net import SystemClock
from tests.journal.kit import INJECTION, delayed, ended, injection, injection_payload, options


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def content_of(message_id: int) -> bytes:
    return (b"%d " % message_id) * (message_id % 977 + 1)


async def work(directory: Path, first: int, durability: Durability) -> None:
    journal = Journal.open(directory, options(1 << 16), durability=durability, clock=SystemClock(), injection=injection)
    rng = Random(first)
    places: dict[int, int] = {}
    states: dict[int, int] = {}
    for mails in journal.recover():
        for mail in mails:
            for entry in mail.live:
                places[entry.message_id] = mail.place
                states[entry.message_id] = entry.attempts
    journal.state_of = lambda message_id: (states.get(message_id, 0), 0)
    journal.on_moved = lambda message_id, old, new: places.update({message_id: new} if message_id in places else {})
    say("ready")
    next_id = first

    def inject() -> None:
        nonlocal next_id
        message_id = next_id
        next_id += 1

        def kept(result: int | JournalError) -> None:
            assert isinstance(result, int), result
            places[message_id] = result
            say(f"a {message_id}")

        journal.append_mail(
            Mail([message_id], 0, b"meta", b"", content_of(message_id)),
            [Event(message_id, INJECTION, injection_payload(message_id), flags=ACCEPTED)],
            kept,
        )

    def end(message_id: int) -> None:
        journal.append_event(
            ended(message_id, places.pop(message_id)), lambda error: None if error else say(f"t {message_id}")
        )

    def delay(message_id: int) -> None:
        states[message_id] = number = states.get(message_id, 0) + 1
        journal.append_event(
            delayed(message_id, places[message_id], number, 0),
            lambda error: None if error else say(f"s {message_id} {number}"),
        )

    while True:
        for _ in range(rng.randrange(1, 12)):
            inject()
            if places and rng.random() < 0.9:
                end(rng.choice(list(places)))
            if places and rng.random() < 0.3:
                delay(rng.choice(list(places)))
        if rng.random() < 0.02:
            await journal.compact(0.9)
        await asyncio.sleep(rng.random() * 0.002)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), int(sys.argv[2]), cast(Durability, sys.argv[3])))
