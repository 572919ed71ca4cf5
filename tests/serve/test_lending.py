"""The warden and the borrowers of two engines, over real links."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postroad.config import parse
from postroad.serve.frames import CONTROL, ENGINE, Name
from postroad.serve.lending import Warden, borrower
from postroad.serve.link import Link, pair
from postroad.serve.windows import rate_windows
from postroad.shaping import Limits

TEXT = '[delivery]\nserver_max_connections = 3\nserver_reserved_connections = 0\nmessage_rate = "20/s, 5/h"'
NEAR: dict[Link, Link] = {}  # the warden's ends
HOSTS = ("192.0.2.1",)


class Engine:
    """One path of an engine: asks for all it can get."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.allowance = limits.allowance("default", "a.test")
        self.open = 0
        self.sent = 0
        self.told = asyncio.Event()
        limits.told = lambda binding, domain: self.told.set()

    def ask(self) -> None:
        while not self.allowance.open(HOSTS):
            assert self.allowance.host_open(HOSTS[0])
            self.open += 1
        while not self.allowance.message():
            self.sent += 1

    async def again(self) -> None:
        """What was lent has come."""
        await self.told.wait()
        self.told.clear()
        self.ask()


async def engine(warden: Warden, number: int) -> tuple[Engine, Link]:
    ours, theirs = pair()
    near, far = Link(), Link()
    NEAR[far] = near
    warden.joined(Name(ENGINE, number), near)
    limits = Limits(parse(TEXT).config, asyncio.get_running_loop().time, borrower(far))
    await near.open(ours)
    await far.open(theirs)
    return Engine(limits), far


async def ended(*links: Link) -> None:
    """Both ends of them."""
    for link in links:
        gone = asyncio.Event()
        link.on_closed(gone.set)
        NEAR[link].close()  # ours hears of it when the other end is gone
        await gone.wait()


async def test_two_engines_get_no_more_than_one(tmp_path: Path) -> None:
    warden = Warden(rate_windows(tmp_path))
    one, link = await engine(warden, 0)
    other, other_link = await engine(warden, 1)
    one.ask()
    while one.open < 3 or one.sent < 5:
        await one.again()
    other.ask()
    assert warden.lender.open()["server"] == (3, 3.0)
    warden.left(Name(ENGINE, 0))
    while other.open < 3:
        await other.again()
    assert other.sent == 0  # the hour is used up
    await ended(link, other_link)
    await warden.stop()


async def test_what_was_sent_is_remembered_by_the_next_warden(tmp_path: Path) -> None:
    warden = Warden(rate_windows(tmp_path))
    one, link = await engine(warden, 0)
    one.ask()
    while one.sent < 5:
        await one.again()
    warden.left(Name(ENGINE, 0))
    await warden.stop()
    warden = Warden(rate_windows(tmp_path))
    next_one, next_link = await engine(warden, 0)
    next_one.ask()
    while next_one.open < 3:
        await next_one.again()
    assert next_one.sent == 0
    await ended(link, next_link)
    await warden.stop()


async def test_control_is_lent_nothing(tmp_path: Path) -> None:
    warden = Warden(rate_windows(tmp_path))
    warden.joined(Name(CONTROL), Link())
    warden.left(Name(CONTROL))
    assert warden.lender.open() == {}
    await warden.stop()
