"""SPF over random zones: what pyspf says where RFC 7208 leaves no choice, and never more look-ups than it allows."""

from __future__ import annotations

import importlib.util
import tarfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from types import ModuleType
from typing import Any

import pytest

from postroad.auth.spf import check_host
from tests.auth.spf.suite import Zone, package

NAMES = [f"{letter}.example" for letter in "abcdefgh"]
CLIENTS = ["192.0.2.1", "192.0.2.77", "198.51.100.9", "2001:db8::1", "2001:db8:1::7"]
# Ten terms that look up, each ten hosts, the record of each name they lead to, and those of the first name.
MOST = 10 + 10 * 11 + 2


@pytest.fixture(scope="module")
def pyspf(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module, out of the source package that the suite comes in."""
    path = tmp_path_factory.mktemp("pyspf") / "spf.py"
    with tarfile.open(package()) as archive:
        file = archive.extractfile(next(name for name in archive.getnames() if name.endswith("/spf.py")))
        assert file is not None
        path.write_bytes(file.read())
    spec = importlib.util.spec_from_file_location("pyspf_oracle", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the age of its code
        spec.loader.exec_module(module)
    return module


# What finds nothing is counted otherwise by pyspf; such zones are judged by the suite only.
PLAIN = ("include", "include", "a", "mx", "ip4", "ip6", "exists", "own")


def _term(rng: Random, kinds: Sequence[str]) -> str:
    name, cidr = rng.choice(NAMES), rng.choice(["", "", "/24", "//64", "/24//48"])
    kind = rng.choice(kinds)
    term = {
        "include": f"include:{name}",
        "a": f"a:{name}{cidr}",
        "mx": f"mx:{name}{cidr}",
        "ip4": rng.choice(["ip4:192.0.2.0/28", "ip4:198.51.100.9", "ip4:192.0.2.64/26"]),
        "ip6": rng.choice(["ip6:2001:db8::/32", "ip6:2001:db8:1::7"]),
        "exists": f"exists:{name}",
        "macros": rng.choice(["exists:%{d}", "exists:%{d2r}.%{d}", "exists:%{l}.a.example", "exists:%{p}.%{i}"]),
        "own": rng.choice(["a", "mx", f"a{cidr}"]),
        "ptr": f"ptr:{name}",
    }[kind]
    return rng.choice(["", "", "+", "-", "~", "?"]) + term


def _record(rng: Random, kinds: Sequence[str]) -> str:
    terms = [_term(rng, kinds) for _ in range(rng.randrange(5))]
    end = rng.choice(["-all", "~all", "?all", "", f"redirect={rng.choice(NAMES)}"])
    terms += [end] if end else []
    if rng.random() < 0.04:
        terms.insert(
            rng.randrange(len(terms) + 1), rng.choice(["a:", "ip4:300.1.1.1", "include", "foo", "mx:/33", "ip6:x"])
        )
    return " ".join(["v=spf1", *terms])


def zone_of(rng: Random, kinds: Sequence[str]) -> dict[str, list[Any]]:
    """Each name has hosts and an exchanger: an answer without any would count, and pyspf counts those otherwise."""
    zone: dict[str, list[Any]] = {}
    for name in NAMES:
        entries: list[Any] = [{"A": rng.choice(["192.0.2.1", "192.0.2.70", "198.51.100.1"])}]
        entries += [{"AAAA": rng.choice(["2001:db8::1", "2001:db8:1::1"])}]
        entries += [{"MX": [10, rng.choice(NAMES)]} for _ in range(rng.choice([1, 1, 3]))]
        entries += [{"TXT": _record(rng, kinds)}] if rng.random() < 0.95 else []
        zone[name] = entries
    return zone


class Counting(Zone):
    asked = 0

    def _found(self, name: str, kind: str) -> list[Any]:
        self.asked += 1
        return super()._found(name, kind)


@contextmanager
def _answering(module: Any, look_up: Callable[..., Any]) -> Iterator[None]:
    before = module.DNSLookup
    module.DNSLookup = look_up
    try:
        yield
    finally:
        module.DNSLookup = before


@pytest.mark.parametrize("rounds", [400, pytest.param(60_000, marks=pytest.mark.soak)])
async def test_what_pyspf_says(pyspf: ModuleType, rounds: int) -> None:
    seen: set[str] = set()
    for seed in range(rounds):
        rng = Random(seed)
        zone = zone_of(rng, PLAIN)
        client, name = rng.choice(CLIENTS), rng.choice(NAMES)

        def look_up(asked: str, kind: str, *args: Any, zone: dict[str, list[Any]] = zone, **more: Any) -> list[Any]:
            entries = zone.get(asked.lower().rstrip("."), [])
            values = [entry[kind] for entry in entries if kind in entry]
            form = {"TXT": lambda value: (value.encode(),), "MX": tuple}.get(kind, str)
            return [((asked, kind), form(value)) for value in values]

        with _answering(pyspf, look_up):
            theirs, _, why = pyspf.query(i=client, s=f"x@{name}", h="h.example").check()
        # It refuses records that include themselves, which the RFC leaves to the limit of look-ups; and it counts a
        # redirect that is never followed.
        if "trivial recursion" in why or "Too many DNS lookups" in why:
            continue
        table = Counting(zone)
        ours = await check_host(client, f"x@{name}", "h.example", table)
        assert ours.result.value == theirs, (seed, ours, why, zone)
        assert table.asked <= MOST
        seen.add(theirs)
    assert seen >= {"pass", "fail", "softfail", "neutral", "permerror"}


@pytest.mark.parametrize("rounds", [400, pytest.param(100_000, marks=pytest.mark.soak)])
async def test_any_zone_is_judged_within_the_limits(rounds: int) -> None:
    for seed in range(rounds):
        rng = Random(seed)
        zone = zone_of(rng, (*PLAIN, "ptr", "macros"))
        for name in rng.sample(NAMES, 4):
            odd = rng.choice(["TIMEOUT", {"TXT": "v=spf1 %"}, {"TXT": _record(rng, PLAIN)}, {"PTR": "a.example"}])
            zone[name] = rng.choice([[], [odd], [*zone[name], odd]])
        table = Counting(zone)
        await check_host(rng.choice(CLIENTS), f"x@{rng.choice(NAMES)}", "h.example", table)
        assert table.asked <= MOST, (seed, zone)
