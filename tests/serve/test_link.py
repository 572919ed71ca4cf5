"""The link between the supervisor and a child: frames over a real pair of sockets."""

from __future__ import annotations

import asyncio

from postroad.serve.link import Frame, Link, pair


class Counted(Frame, frozen=True):
    number: int
    text: str = ""


class Asked(Frame, frozen=True):
    names: list[str]


async def ends() -> tuple[Link, Link]:
    left, right = Link(), Link()
    ours, theirs = pair()
    await left.open(ours)
    await right.open(theirs)
    return left, right


async def test_frames_arrive_whole_and_in_order() -> None:
    left, right = await ends()
    got: list[Frame] = []
    done = asyncio.Event()
    right.on(Counted, got.append)

    def last(frame: Asked) -> None:
        got.append(frame)
        done.set()

    right.on(Asked, last)
    sent: list[Frame] = [Counted(number, "x" * (number * 9)) for number in range(2000)]
    sent.append(Asked(["a", "b"]))
    for frame in sent:
        left.send(frame)
    await asyncio.wait_for(done.wait(), 20)
    assert got == sent
    left.close()
    right.close()


async def test_a_frame_nobody_asked_for_is_passed_over() -> None:
    left, right = await ends()
    got: asyncio.Future[Counted] = asyncio.get_running_loop().create_future()
    right.on(Counted, got.set_result)
    left.send(Asked(["who"]))
    left.send(Counted(7))
    assert (await asyncio.wait_for(got, 20)).number == 7
    left.close()
    right.close()


async def test_both_ends_hear_that_it_is_closed_and_may_go_on_sending() -> None:
    left, right = await ends()
    told: list[str] = []
    gone = asyncio.Event()
    left.on_closed(lambda: told.append("left"))
    right.on_closed(lambda: told.append("right"))
    right.on_closed(gone.set)
    right.on(Counted, lambda frame: told.append(frame.text))
    left.send(Counted(1, "the last word"))
    left.close()
    await asyncio.wait_for(gone.wait(), 20)
    assert told[0] == "left" or told[0] == "the last word"
    assert told.index("the last word") < told.index("right")
    right.send(Counted(2))
    right.on_closed(lambda: told.append("again"))
    assert told[-1] == "again"


async def test_what_is_no_frame_closes_the_link() -> None:
    link = Link()
    ours, theirs = pair()
    await link.open(ours)
    gone = asyncio.Event()
    link.on_closed(gone.set)
    with theirs:
        theirs.sendall(b"\xff\xff\xff\xff and then some")
        await asyncio.wait_for(gone.wait(), 20)
    assert link.closed
