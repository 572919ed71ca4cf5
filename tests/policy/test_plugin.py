"""Plug-ins from files: how they are loaded, refused, swapped."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from postroad.config.schema import Config, DnsOptions, PolicyOptions, RuleOptions
from postroad.net import DnsResolver, SystemClock
from postroad.policy import (
    Connect,
    Plugin,
    PluginError,
    Policies,
    PolicySet,
    Reject,
    Session,
    load_plugin,
    load_policies,
)

FUNCTIONS = """
from postroad.policy import Reject
def connect(facts):
    return Reject("no") if facts.session.peer == "192.0.2.1" else None
async def rcpt_to(facts):
    return None
"""

CLASS = """
import msgspec
from postroad.policy import Reject
class Options(msgspec.Struct, forbid_unknown_fields=True):
    peers: list[str]
class Policy:
    def __init__(self, kit):
        self.kit = kit
        self.log = []
    async def open(self):
        self.log.append("open")
    def close(self):
        self.log.append("close")
    def connect(self, facts):
        return Reject(self.kit.name) if facts.session.peer in self.kit.options.peers else None
"""


def load(folder: Path, text: str, **options: Any) -> Plugin:
    (folder / "mine.py").write_text(text)
    return load_plugin(PolicyOptions(file="mine.py", **options), folder, clock=SystemClock(), resolver=_resolver())


def _resolver() -> DnsResolver:
    return DnsResolver(DnsOptions(servers=["127.0.0.1:1"]), rng=random.Random(1))


async def test_functions_of_a_file(tmp_path: Path) -> None:
    plugin = load(tmp_path, FUNCTIONS)
    assert [hook.name for hook in plugin.hooks] == ["mine.connect", "mine.rcpt_to"]
    assert plugin.hooks[0].call(Connect(Session(peer="192.0.2.1"))) == Reject("no")
    only = load(tmp_path, FUNCTIONS, phases=["rcpt_to"], listeners=["a:25"], time_limit=1.0)
    assert [(hook.phase, hook.listeners, hook.time_limit) for hook in only.hooks] == [
        ("rcpt_to", frozenset({"a:25"}), 1.0)
    ]


async def test_a_class_with_options(tmp_path: Path) -> None:
    plugin = load(tmp_path, CLASS, options={"peers": ["192.0.2.1"]}, name="other")
    await plugin.open()
    assert plugin.hooks[0].call(Connect(Session(peer="192.0.2.1"))) == Reject("other")
    await plugin.close()
    assert plugin.policy.log == ["open", "close"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("def connect(facts)\n", {}, r"mine.py:1: SyntaxError"),
        ("\n\nraise RuntimeError('boom')\n", {}, r"mine.py:3: RuntimeError: boom"),
        ("x = 1\n", {}, r"nothing named after a phase"),
        (CLASS, {"options": {}}, r"missing required field `peers`"),
        (CLASS, {"options": {"peers": ["a"], "more": 1}}, r"unknown field `more`"),
        (FUNCTIONS, {"thread": True}, r"rcpt_to is async"),
    ],
)
async def test_bad_files_are_refused_with_their_place(
    tmp_path: Path, text: str, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PluginError, match=rf"policy 'mine'.*{problem}"):
        load(tmp_path, text, **options)


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    options = PolicyOptions(file="none.py")
    with pytest.raises(PluginError, match="there is no file"):
        load_plugin(options, tmp_path, clock=SystemClock(), resolver=_resolver())
    with pytest.raises(PluginError, match="No module named"):
        load_plugin(PolicyOptions(package="no.such"), tmp_path, clock=SystemClock(), resolver=_resolver())


def policies(folder: Path, config: Config) -> PolicySet:
    return load_policies(config, folder, clock=SystemClock(), resolver=_resolver())


async def test_a_reload_swaps_all_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CLASS)
    named = PolicyOptions(file="mine.py", options={"peers": ["192.0.2.1"]})
    first = policies(tmp_path, Config(policy=[named], rule=[RuleOptions(phase="connect", action="reject")]))
    running = Policies()
    await running.open(first)
    assert not running.hooks().all, "not before it is swapped in"
    running.swap()
    assert [hook.plugin for hook in running.hooks().all] == ["mine", "rule 1"]
    (tmp_path / "mine.py").write_text(CLASS.replace('self.log.append("open")', 'raise OSError("no database")'))
    with pytest.raises(PluginError, match="no database"):
        await running.open(policies(tmp_path, Config(policy=[named])))
    running.swap()
    assert running.hooks() is first.hooks
    assert first.plugins[0].policy.log == ["open"]  # type: ignore[attr-defined]
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    await running.open(policies(tmp_path, Config(policy=[PolicyOptions(file="mine.py")])))
    running.swap()
    assert [count.phase for count in running.counts()] == ["connect", "rcpt_to"]
    await running.close()
    assert first.plugins[0].policy.log == ["open", "close"]  # type: ignore[attr-defined]
    assert not running.hooks().all


async def test_what_was_opened_and_not_swapped_in_is_closed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CLASS)
    named = PolicyOptions(file="mine.py", options={"peers": []})
    running = Policies()
    one, two = policies(tmp_path, Config(policy=[named])), policies(tmp_path, Config(policy=[named]))
    await running.open(one)
    await running.open(two)
    await running.close()
    assert [each.plugins[0].policy.log for each in (one, two)] == [["open", "close"]] * 2  # type: ignore[attr-defined]


async def test_two_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    named = PolicyOptions(file="mine.py")
    with pytest.raises(PluginError, match="two policies"):
        policies(tmp_path, Config(policy=[named, named]))
