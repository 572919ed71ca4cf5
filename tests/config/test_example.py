"""The file that `postroad init` writes."""

import re

from postroad.config import Config, Start, effective, example, parse
from postroad.config.schema import ApiKey, HttpOptions, ListenerOptions, PeerOptions, ServerOptions

START = Start("mx.a.example", "ab" * 32)


def test_without_choices_it_is_the_defaults_exactly() -> None:
    generation = parse(example())
    assert generation.config == Config() and generation.origins == {}


def test_a_new_installation() -> None:
    generation = parse(example(START))
    assert generation.config == Config(
        server=ServerOptions(hostname="mx.a.example"),
        listener=[ListenerOptions(peers=[PeerOptions(network="127.0.0.0/8", relay=True)])],
        http=HttpOptions(keys=[ApiKey(label="first", sha256="ab" * 32)]),
    )
    assert generation.warnings == ()


def test_every_option_stands_in_it_and_its_comment_is_its_default() -> None:
    """Taking every "#" away that stands before a value gives a file with the same meaning."""
    text = example(START)
    uncommented = re.sub(r"^#(?=[a-z_0-9]+ = (?!\()|    \"|\]$)", "", text, flags=re.MULTILINE)
    generation = parse(uncommented)
    assert generation.config == parse(text).config
    optional = {item.name for item in effective(generation) if item.value is None}
    assert {item.name for item in effective(generation)} - optional == set(generation.origins)


def test_lines_are_short() -> None:
    assert max(map(len, example(START).splitlines())) <= 120
