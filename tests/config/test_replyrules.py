"""Rules on replies are linted: what is wrong with them, and which can never act."""

from __future__ import annotations

import pytest

from postroad.config import ConfigError, parse
from postroad.config.replyrules import code_fits


def rule(name: str, text: str = "") -> str:
    return f'[[reply]]\nname = "{name}"\n{text}\n'


def problems(text: str) -> list[str]:
    """Of the rules: what is fatal, or else the warnings."""
    try:
        generation = parse(text, "p.toml")
    except ConfigError as error:
        return [str(problem).partition(": ")[2] for problem in error.problems]
    return [f"{each.name}: {each.text} (warning)" for each in generation.warnings if each.name.startswith("reply")]


ALL = 'codes = ["4xx"]\npattern = "later"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rule("a", ALL + 'action = "permanent"'), []),
        (rule("a") + rule("a"), ["reply[1].name: a is the name of reply[0] already"]),
        (rule("a", 'binding = "x"'), ["reply[0].binding: there is no binding x"]),
        (rule("a", 'binding = "default"\ngroup = "default"'), []),
        (rule("a", 'provider = "x"'), ["reply[0].provider: there is no provider x"]),
        (
            rule("a", 'domain = "a b"'),
            ['reply[0].domain: must be a domain, a pattern such as "*.example.com", or a /regular expression/'],
        ),
        (
            rule("a", 'stages = ["rcpt", "quit"]'),
            ["reply[0].stages[1]: must be one of banner, ehlo, auth, mail, rcpt, data, content"],
        ),
        (rule("a", 'codes = ["250"]'), ['reply[0].codes[0]: must be a code such as "550", "45x" or "4xx"']),
        (rule("a", 'codes = ["4x5"]'), ['reply[0].codes[0]: must be a code such as "550", "45x" or "4xx"']),
        (rule("a", 'pattern = "(a"'), ["reply[0].pattern: is no RE2 expression: missing ): (a"]),
        (
            rule("a", 'pattern = "a(?=b)"'),
            ["reply[0].pattern: is no RE2 expression: invalid perl operator: (?="],
        ),
        (rule("a", 'pattern = "a*"'), ["reply[0].pattern: fits the empty text, and so every reply (warning)"]),
        (rule("a", 'enhanced = "2.1.1"'), ['reply[0].enhanced: must be an enhanced code such as "4.2.1"']),
        (
            rule("a", 'action = "permanent"\nenhanced = "4.1.1"'),
            ["reply[0].enhanced: must begin with 5, as action says"],
        ),
        (
            rule("a", 'codes = ["4xx", "550"]\nenhanced = "4.1.1"'),
            ["reply[0].enhanced: does not fit all its codes; say action, or codes"],
        ),
        (rule("a", 'codes = ["4xx"]\nenhanced = "4.1.1"'), []),
        (rule("a", 'wait = "5m"'), ["reply[0].wait: is for refusals that are temporary; say action, or codes"]),
        (rule("a", 'action = "temporary"\nwait = "5m"'), []),
        (
            rule("a", 'codes = ["5xx"]\naction = "permanent"'),
            ["reply[0].action: changes nothing: its codes are all permanent (warning)"],
        ),
        (rule("a", "bounce_class = 0"), ["reply[0].bounce_class: must be 1 or more, not 0"]),
        (rule("a", 'action = "never"'), ['reply[0].action: must be one of "", "temporary", "permanent", not "never"']),
    ],
)
def test_the_form(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


NEVER = "reply[1]: b never acts: a, which comes before, takes all its replies (warning)"
PROVIDER = '[[provider]]\nname = "p"\ndomains = ["p.example"]\n'


@pytest.mark.parametrize(
    ("first", "second", "reachable"),
    [
        ("", 'pattern = "x"', False),
        ('pattern = "x"', "", True),
        ('pattern = "x"', 'pattern = "x"\ndomain = "a.example"', False),
        ('pattern = "x"', 'pattern = "xy"', True),  # that needs more than this lint: samples tell
        ('domain = "a.example"', 'domain = "b.example"', True),
        ('domain = "*.example"', 'domain = "b.example"', False),
        ('domain = "b.example"', 'domain = "*.example"', True),
        ('codes = ["4xx"]', 'codes = ["450", "45x"]', False),
        ('codes = ["45x"]', 'codes = ["4xx"]', True),
        ('codes = ["45x"]', "", True),
        ('stages = ["rcpt", "data"]', 'stages = ["data"]', False),
        ('stages = ["data"]', 'stages = ["rcpt", "data"]', True),
        ('binding = "default"', 'binding = "default"\ncodes = ["4xx"]', False),
        ('binding = "default"', 'codes = ["4xx"]', True),
        ('provider = "p"', 'provider = "p"\nstages = ["mail"]', False),
        ('provider = "p"', 'domain = "p.example"', True),
    ],
)
def test_rules_that_never_act(first: str, second: str, reachable: bool) -> None:
    assert problems(PROVIDER + rule("a", first) + rule("b", second)) == ([] if reachable else [NEVER])


GREY = rule("grey", 'codes = ["450"]\npattern = "(?i)greylist"\nsamples = ["450 4.2.0 Greylisted, come back"]')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GREY, []),
        (rule("wide", 'pattern = "come"') + GREY, ["reply[1].samples[0]: is taken by wide, which comes before"]),
        (rule("wide", 'pattern = "come"\ndomain = "a.example"') + GREY, []),
        (rule("a", 'pattern = "x"\nsamples = ["450 y"]'), ["reply[0].samples[0]: does not fit a"]),
        (rule("a", 'codes = ["451"]\nsamples = ["450 y"]'), ["reply[0].samples[0]: does not fit a"]),
        (
            rule("a", 'samples = ["come back"]'),
            ['reply[0].samples[0]: must be a reply such as "450 4.2.0 come back later"'],
        ),
    ],
)
def test_samples(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_codes() -> None:
    assert code_fits([], 599) and code_fits(["45x"], 450) and code_fits(["421", "5xx"], 554)
    assert not code_fits(["45x"], 460) and not code_fits(["550"], 551)
