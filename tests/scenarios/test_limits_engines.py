"""Limits with one engine and several, as the far end counts them: real processes under load, one of them killed, all
restarted, limits lowered and raised by a reload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.scenarios.counting import Came
from tests.scenarios.crowding import BIG, DOMAINS, OTHERS, OWN, PEERS, SHARED, Load, Road, of, road, sink
from tests.scenarios.server import until

NONE = "# no limit"


class Kind(NamedTuple):
    """option: what limits it. low, high: two values of that. names: what the far end counts for it."""

    option: str
    low: int
    high: int
    names: tuple[str, ...]


KINDS = {
    "path": Kind("max_connections", 2, 4, tuple(f"path {peer} {host}" for peer in PEERS for host in OWN)),
    "domain": Kind("domain_max_connections", 3, 5, tuple(f"host {host}" for host in OWN)),
    "binding": Kind("binding_max_connections", 4, 6, tuple(f"peer {peer}" for peer in PEERS)),
    "provider": Kind("provider_max_connections", 3, 5, ("provider",)),
    "host": Kind("host_max_connections", 2, 4, tuple(f"host {host}" for host in (*OWN, SHARED))),
    "server": Kind("server_max_connections", 4, 7, ("all",)),
}
SOAK = pytest.mark.soak


class Limit:
    """The one limit of a server, changed by reloads under load."""

    def __init__(self, at: Road) -> None:
        self.at = at
        self._line = NONE

    def set(self, kind: str, most: int) -> None:
        line = f"{KINDS[kind].option} = {most}"
        self.at.replace(self._line, line)
        self._line = line

    def holds(self, kind: str, most: int) -> None:
        """From when what is too much has ended: never one more, and all that are allowed, everywhere."""
        until(lambda: self.at.settled(kind, most), "what is too much has ended")
        self.at.far.forget()
        self.reached(kind, most)

    def reached(self, kind: str, most: int) -> None:
        """With no word on those before."""
        far, names = self.at.far, KINDS[kind].names
        until(
            lambda: all(far.most[name] >= most for name in names),
            lambda: f"{most} connections for each {kind}: {far.most}, {self.at.lent()}",
        )
        assert {name: far.most[name] for name in names} == dict.fromkeys(names, most)

    def none(self) -> None:
        self.at.replace(self._line, NONE)
        self._line = NONE


@pytest.mark.parametrize("engines", [pytest.param(1, marks=SOAK), 2, pytest.param(4, marks=SOAK)])
def test_connections(tmp_path: Path, engines: int) -> None:
    """Each limit in turn, lowered and raised by reloads."""
    with sink() as far, road(tmp_path, far, engines, delivery=NONE) as at:
        limit = Limit(at)
        with Load(at):
            for kind, (_, low, high, _) in KINDS.items():
                limit.set(kind, low)
                limit.holds(kind, low)
                limit.set(kind, high)
                limit.holds(kind, high)
        limit.none()
        at.end(twice=False)


@pytest.mark.parametrize("engines", [pytest.param(1, marks=SOAK), 2, pytest.param(4, marks=SOAK)])
@pytest.mark.parametrize(
    "kind", ["server", *(pytest.param(kind, marks=SOAK) for kind in sorted(KINDS) if kind != "server")]
)
def test_connections_when_engines_die(tmp_path: Path, engines: int, kind: str) -> None:
    """A limit through kill -9 of an engine; one that is lowered in the next moment, while others take the place of the
    dead one's; a restart of all; a kill of all."""
    _, low, high, _ = KINDS[kind]
    with sink() as far, road(tmp_path, far, engines, delivery=NONE) as at:
        limit = Limit(at)
        server = at.server
        with Load(at):
            limit.set(kind, high)
            limit.holds(kind, high)
            if engines > 1:
                at.kill(engines - 1)
                until(lambda: server.joined, "it is back")
                at.kill(0)
            limit.set(kind, low)
            limit.holds(kind, low)
            until(lambda: server.joined, "it is back")
            assert server.stop() == 0
            server.start()
            more = len(far.came) + 100
            until(lambda: len(far.came) >= more, "mail goes on")
            limit.reached(kind, low)
            server.kill()
            server.start()
            more = len(far.came) + 100
            until(lambda: len(far.came) >= more, "mail goes on")
            limit.reached(kind, low)
            until(lambda: server.joined, "all are there")
            limit.set(kind, high)
            limit.holds(kind, high)
        limit.none()
        at.end(twice=True)


@pytest.mark.parametrize("engines", [1, 2, pytest.param(4, marks=SOAK)])
def test_a_quota_is_used_up_and_not_exceeded(tmp_path: Path, engines: int) -> None:
    """60 an hour for a provider, in two windows: no clock of the test matters, only how many come in all. Through a
    kill -9 of an engine, a restart of all, and a reload that raises the quota."""
    with sink(0.0) as far, road(tmp_path, far, engines, provider='message_rate = "40/s, 60/h"') as at:

        def used(number: int) -> None:
            until(
                lambda: len(of(far, BIG)) >= number,
                lambda: f"the quota of {number} is used: {len(of(far, BIG))}, {at.lent()[1]}, {at.waiting()} wait",
            )
            others = len(of(far, OTHERS)) + 30
            at.put(OTHERS, 30)
            until(lambda: len(of(far, OTHERS)) == others, "the others' mail")
            assert len(of(far, BIG)) == number

        at.put(BIG, 30)
        used(30)
        if engines > 1:
            # What is lent and not used goes back; what a dead engine holds would count as used.
            until(lambda: not any(at.lent()[1].values()), "nothing is lent")
            at.kill(0)
            until(lambda: at.server.joined, "it is back")
        at.put(BIG, 90)
        used(60)
        assert at.server.stop() == 0
        at.server.start()
        used(60)
        at.replace("60/h", "75/h")
        used(75)
        at.replace('message_rate = "40/s, 75/h"', "")
        at.end(twice=False)


@pytest.mark.parametrize("engines", [pytest.param(1, marks=SOAK), 2, pytest.param(4, marks=SOAK)])
def test_after_a_kill_of_all_what_may_have_been_sent_counts(tmp_path: Path, engines: int) -> None:
    """The file says what was granted up to a moment; what could have been in the two seconds after it counts as well,
    and the rest of the quota is used."""
    with sink(0.0) as far, road(tmp_path, far, engines, provider='message_rate = "10/s, 60/h"') as at:
        at.put(BIG, 20)
        until(lambda: len(of(far, BIG)) == 20, "it begins")
        until(at.server.quiet, "the ends are written down")
        at.server.kill()
        (kept,) = json.loads((at.server.data / "rates.json").read_text())["rates"].values()
        known = kept["lent"] + sum(number for _, number in kept["runs"][1])
        assert known <= 20
        # By the pace of 10/s in two seconds; a tenth of 10 at once, and the one that may go at any time.
        left = 60 - known - (20 + 1 + 1)
        at.server.start()
        until(lambda: at.server.joined, "all are there")
        at.put(BIG, 60)
        until(lambda: len(of(far, BIG)) >= 20 + left, "the rest of the quota")
        at.put(OTHERS, 30)
        until(lambda: len(of(far, OTHERS)) == 30, "the others' mail")
        assert len(of(far, BIG)) == 20 + left <= 60
        at.replace('message_rate = "10/s, 60/h"', "")
        at.end(twice=False)


@SOAK
@pytest.mark.parametrize("engines", [2, 4])
def test_a_quota_when_an_engine_dies_with_grants_in_hand(tmp_path: Path, engines: int) -> None:
    """They count as used: one at the most for each of its paths, at this rate."""
    with sink(0.0) as far, road(tmp_path, far, engines, provider='message_rate = "10/s, 60/h"') as at:
        at.put(BIG, 120)
        until(lambda: len(of(far, BIG)) >= 10, "it begins")
        at.kill(0)
        until(lambda: at.server.joined, "it is back")
        least = 60 - len(BIG) * len(PEERS)
        until(lambda: len(of(far, BIG)) >= least, "the quota is used")
        at.put(OTHERS, 30)
        until(lambda: len(of(far, OTHERS)) == 30, "the others' mail")
        assert least <= len(of(far, BIG)) <= 60
        at.replace('message_rate = "10/s, 60/h"', "")
        at.end(twice=True)


@SOAK
@pytest.mark.parametrize("engines", [1, 2, 4])
def test_rates_by_the_clock(tmp_path: Path, engines: int) -> None:
    """30 in 3 seconds and 60 in 10, of all engines together. What is on its way may be late, so the far end's windows
    are half a second shorter; exact windows are a matter of simulated time (tests/shaping/test_lender.py)."""
    with sink(0.0) as far, road(tmp_path, far, engines, provider='message_rate = "30/3s, 60/10s"') as at:
        at.put(BIG, 180)
        until(lambda: len(of(far, BIG)) >= 130, "two windows and more")
        assert crowded(of(far, BIG), 30, 2.5) == []
        assert crowded(of(far, BIG), 60, 9.5) == []
        at.replace('message_rate = "30/3s, 60/10s"', "")
        at.end(twice=False)


def crowded(came: list[Came], most: int, seconds: float) -> list[tuple[float, float]]:
    """Where more than `most` came within `seconds`."""
    times = sorted(each.at for each in came)
    pairs = zip(times, times[most:], strict=False)
    return [(first, last) for first, last in pairs if last < first + seconds]


def test_every_domain_is_counted() -> None:
    assert set(BIG) | set(OTHERS) == set(DOMAINS)
