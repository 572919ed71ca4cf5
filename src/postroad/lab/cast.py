"""The cast of the lab: made-up domains, each with one habit of the real world's receivers."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from postroad.lab.rules import Rule, RuleError


class Domain(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receiving domain and its provider."""

    name: str
    about: str = ""
    """What is special here, in a few words: it stands in tables."""
    hosts: int = 1
    """Mail hosts, at MX preferences 10, 20, ... Each has an address of its own and behaves alike. 0: no host."""
    dead_hosts: int = 0
    """Hosts that stand in front of those in the MX and refuse every connection."""
    rules: tuple[Rule, ...] = ()
    dns: dict[str, Any] = {}
    """Entry for the zone (see dnsserver.Zone.from_dict) instead of the MX made from the hosts. Empty, and no hosts: the
    domain does not exist."""
    weight: float = 1.0
    """Share of the demo's recipients."""
    waits: bool = False
    """Its mail can be neither delivered nor refused before it expires, so that nobody should wait for it."""


class CastError(ValueError):
    """A cast file that can't be used. The text says where."""


def read_cast(path: Path) -> list[Domain]:
    """Domains from a TOML file of [[domain]] tables. Raises CastError, OSError."""
    try:
        file = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(file.get("domain", []), list[Domain])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, RuleError) as error:
        raise CastError(f"{path}: {error}") from None


STANDARD: Sequence[Domain] = (
    Domain(
        name="bigmail.test",
        about="takes everything",
        hosts=2,
        weight=30,
    ),
    Domain(
        name="quickpost.test",
        about="some unknown users",
        hosts=1,
        dead_hosts=1,
        rules=(Rule(name="unknown user", percent=3, reply="550 5.1.1 No such user here"),),
        weight=20,
    ),
    Domain(
        name="slowmail.test",
        about="0.5 s for each",
        rules=(Rule(name="slow", step="message", delay=0.5),),
        weight=6,
    ),
    Domain(
        name="greylisted.test",
        about="defers the first try",
        rules=(Rule(name="greylist", greylist=2, reply="451 4.7.1 Greylisted, please come back"),),
        weight=8,
    ),
    Domain(
        name="fullbox.test",
        about="many full mailboxes",
        rules=(
            Rule(name="mailbox full", recipient="*[037]@*", reply="552 5.2.2 Mailbox full"),
            Rule(name="over quota", recipient="*5@*", percent=40, reply="452 4.2.2 Over quota, try later"),
        ),
        weight=6,
    ),
    Domain(
        name="flaky.test",
        about="fails at random",
        rules=(
            Rule(name="no banner", step="connect", percent=5, close="instead"),
            Rule(name="local error", percent=10, reply="451 4.3.0 Local error in processing"),
            Rule(name="lost at DATA", step="data", percent=5, close="instead"),
            Rule(name="lost at the end", step="message", percent=5, close="instead"),
            Rule(name="closing", step="mail", messages=20, reply="421 4.7.0 Enough for one session"),
        ),
        weight=10,
    ),
    Domain(
        name="busy.test",
        about="limits rate, sessions",
        rules=(
            Rule(name="sessions", step="connect", connections=4, reply="421 4.7.0 Too many connections"),
            Rule(name="rate", rate=100, window=1, reply="450 4.7.1 Too fast, slow down"),
        ),
        weight=8,
    ),
    Domain(
        name="picky.test",
        about="blocks some content",
        rules=(
            Rule(
                name="spam",
                step="message",
                content="\r\nSubject: Letter 7",
                reply="554 5.7.1 Message refused: it looks like unsolicited mail",
            ),
        ),
        weight=5,
    ),
    Domain(name="gone.test", about="does not exist", hosts=0, weight=3),
    Domain(name="nomail.test", about="null MX", hosts=0, dns={"MX": ["0 ."]}, weight=2),
    Domain(name="dark.test", about="name servers fail", hosts=0, dns={"fault": "servfail"}, weight=1, waits=True),
    Domain(name="sender.test", about="takes our bounces", weight=0),
)
