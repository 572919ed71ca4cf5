"""The lab world: every domain of the cast has the habit that its line in the table says, for a client that asks DNS."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncresolver
import dns.resolver
import pytest
from typer.testing import CliRunner

from postroad.config import parse
from postroad.lab.cast import STANDARD, CastError, Domain, read_cast
from postroad.lab.command import app
from postroad.lab.load import LoadPlan, LoadResult, run_load
from postroad.lab.rules import Rule, RuleError
from postroad.lab.world import World


def resolver(world: World) -> dns.asyncresolver.Resolver:
    one = dns.asyncresolver.Resolver(configure=False)
    one.nameservers, one.port, one.lifetime = ["127.0.0.1"], world.dns_port, 10
    return one


async def addresses(world: World, domain: str) -> list[str]:
    """Where the domain's mail goes, best first."""
    ask = resolver(world)
    exchanges = sorted((record.preference, record.exchange) for record in await ask.resolve(domain, "MX"))
    found = []
    for _, host in exchanges:
        found += [record.address for record in await ask.resolve(host, "A")]
    return found


async def send(world: World, domain: str, count: int = 60, connections: int = 1, seed: int = 1) -> LoadResult:
    """Load for one domain, to its last (living) host."""
    host = (await addresses(world, domain))[-1]
    return await run_load(
        LoadPlan(
            count=count,
            smtp=(host, world.port),
            smtp_connections=connections,
            recipients={domain: 1},
            seed=seed,
            sizes={1000: 1},
        )
    )


async def test_every_name_leads_to_its_own_address() -> None:
    async with World() as world:
        seen: list[str] = []
        for domain in STANDARD:
            if domain.hosts:
                found = await addresses(world, domain.name)
                assert len(found) == domain.hosts + domain.dead_hosts
                seen += found
        assert len(set(seen)) == len(seen)
        assert all(re.fullmatch(r"127\.77\.\d+\.\d+", address) for address in seen)
        assert [str(record) for record in await resolver(world).resolve("nomail.test", "MX")] == ["0 ."]
        with pytest.raises(dns.resolver.NXDOMAIN):
            await resolver(world).resolve("gone.test", "MX")
        with pytest.raises(dns.resolver.NoNameservers, match="SERVFAIL"):
            await resolver(world).resolve("dark.test", "MX")


async def test_habits() -> None:
    async with World() as world:
        assert (await send(world, "bigmail.test")).accepted == 60
        assert list((await send(world, "quickpost.test", 300)).refused) == ["550 5.1.1 No such user here"]
        first = await send(world, "greylisted.test", 20)
        assert first.refused == {"451 4.7.1 Greylisted, please come back": 20}
        full = await send(world, "fullbox.test")
        assert full.accepted > 0
        assert full.refused["552 5.2.2 Mailbox full"] == 18
        assert full.refused["452 4.2.2 Over quota, try later"] > 0
        flaky = await send(world, "flaky.test", 300)
        assert flaky.failed["connection closed by the server"] > 0
        assert flaky.refused["451 4.3.0 Local error in processing"] > 0
        busy = await send(world, "busy.test", 300, connections=6)
        assert busy.refused["450 4.7.1 Too fast, slow down"] > 0
        assert world.hits()["busy.test"]["sessions"] > 0
        picky = await send(world, "picky.test")
        assert picky.refused == {"554 5.7.1 Message refused: it looks like unsolicited mail": 1}
        slow = await send(world, "slowmail.test", 2, connections=2)
        assert slow.accepted == 2
        assert min(slow.latencies) > 0.45
        assert world.ledger.messages == sum(counts.messages for counts in world.ledger.domains.values())
        assert world.ledger.duplicates == 0


async def test_a_dead_host_stands_before_a_living_one() -> None:
    async with World() as world:
        dead, living = await addresses(world, "quickpost.test")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(dead, world.port)
        _, writer = await asyncio.open_connection(living, world.port)
        writer.close()


async def test_the_configuration_is_one_that_postroad_takes() -> None:
    async with World() as world:
        config = parse(world.config_toml(), "lab.toml").config
        assert config.delivery.port == world.port
        assert config.dns.servers == [f"127.0.0.1:{world.dns_port}"]
        assert config.delivery.prohibited_hosts == []


async def test_a_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    async with World() as world:
        second = World()
        with pytest.raises(OSError):
            await second.start(port=world.port)
        with pytest.raises(OSError):
            await second.start(dns_port=world.dns_port)
        assert not any(provider.sessions for providers in second.providers.values() for provider in providers)
        await second.start()
        assert second.port != world.port
        await second.stop()


CAST = """
[[domain]]
name = "one.test"
hosts = 2
[[domain.rules]]
name = "no"
recipient = "x*"
reply = "550 5.1.1 No"

[[domain]]
name = "two.test"
hosts = 0
dns = {A = ["127.0.0.1"], fault = "timeout"}
"""


def test_a_cast_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cast.toml"
    file.write_text(CAST)
    rules = (Rule(name="no", recipient="x*", reply="550 5.1.1 No"),)
    assert read_cast(file) == [
        Domain(name="one.test", hosts=2, rules=rules),
        Domain(name="two.test", hosts=0, dns={"A": ["127.0.0.1"], "fault": "timeout"}),
    ]
    assert World(read_cast(file)).recipients == {"one.test": 1.0, "two.test": 1.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[domain]]\n", "name"),
        ("[[domain]]\nname = 'x.test'\nhabit = 'odd'\n", "habit"),
        ("[[domain]]\nname = 'x.test'\n[[domain.rules]]\nname='r'\nstep='sleep'\n", "sleep"),
        ("domain = 7\n", "array"),
        ("not toml", "line 1"),
    ],
)
def test_bad_casts_say_where(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "cast.toml"
    file.write_text(text)
    with pytest.raises(CastError, match=told) as caught:
        read_cast(file)
    assert str(file) in str(caught.value)
    result = CliRunner().invoke(app, ["serve", "--cast", str(file)])
    assert result.exit_code == 2
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_rules_that_cannot_be_meant_are_found_before_anything_starts() -> None:
    with pytest.raises(RuleError, match="bad"):
        World([Domain(name="x.test", rules=(Rule(name="bad", reply="?"),))])


# The commands, as a person runs them


@asynccontextmanager
async def command(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from postroad.lab.command import app; app()", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "100"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_serve_and_load(tmp_path: Path) -> None:
    file = tmp_path / "cast.toml"
    file.write_text('[[domain]]\nname = "one.test"\nabout = "the only one"\n')
    snippet = tmp_path / "lab.toml"
    async with asyncio.timeout(60), command("serve", "--cast", str(file), "--write", str(snippet)) as lab:
        assert lab.stdout is not None
        text = (await lab.stdout.readuntil(b"message_expiration")).decode()
        assert (await lab.stdout.readline()).strip()
        port = parse(snippet.read_text(), "lab.toml").config.delivery.port
        assert f"port = {port}\n" in text
        target = ("--smtp", f"127.77.1.1:{port}", "--to", "one.test")
        async with command("load", *target, "--count", "50", "--size", "500") as load:
            out, err = await load.communicate()
            assert load.returncode == 0, err
            assert out.startswith(b"50 accepted, 0 refused, 0 failed")
        lab.send_signal(signal.SIGINT)
        out, _ = await lab.communicate()
        assert lab.returncode == 0
        assert re.search(r"one\.test +the only one +50 +0", out.decode())


def test_load_refuses_what_is_not_this_machine() -> None:
    for target in ("192.0.2.1:25", "mail.example.com:25", "nonsense"):
        result = CliRunner().invoke(app, ["load", "--smtp", target, "--count", "1"])
        assert result.exit_code == 2
        assert "Traceback" not in result.output


def test_domains_are_documented_in_a_few_words() -> None:
    assert all(0 < len(domain.about) <= 22 for domain in STANDARD)
