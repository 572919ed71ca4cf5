"""What the how-to pages on policy tell people to write is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from postroad.config import parse
from postroad.config.schema import RuleOptions
from postroad.policy import Hook, Hooks, load_rules
from tests.policy.test_rules import incoming

ROOT = Path(__file__).parents[2]
HOWTO = ROOT / "docs" / "howto"


@pytest.mark.parametrize("page", ["spam-and-viruses-come-in", "one-customer-sends-too-much"])
def test_configuration_on_the_pages(page: str) -> None:
    text = (HOWTO / f"{page}.md").read_text()
    blocks = re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)
    tables = "\n".join(block for block in blocks if "[[" in block)
    config = parse(re.sub("^    ", "", tables, flags=re.MULTILINE)).config
    assert config.policy and config.rule
    for named in config.policy:
        assert (ROOT / "examples" / "policy" / named.file).is_file()
    assert [hook.errors for hook in asked(load_rules(config.rule))] == [0] * len(config.rule)


def asked(rules: list[Hook]) -> list[Hook]:
    hooks = Hooks(rules)
    for phase in ("mail_from", "message"):
        hooks.ask(hooks.chain(phase), incoming())
    return hooks.all


def test_what_the_log_says_of_a_context_value_that_is_not_there() -> None:
    told: list[BaseException] = []
    (page,) = re.findall(r"\| a rule: `(.*?)` \|", (HOWTO / "451-4.3.0.md").read_text())
    (rule,) = load_rules([RuleOptions(when="connection.absent == '1'", action="reject")])
    hooks = Hooks([rule], lambda hook, error: told.append(error))
    hooks.ask(hooks.chain("message"), incoming())
    assert f"{type(told[0]).__name__}: {told[0]}".startswith(page)
