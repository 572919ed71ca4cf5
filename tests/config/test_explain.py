"""The effective value, its unit, its description and the line it comes from."""

import pytest

from postroad.config import Config, Generation, UnknownOption, difference, effective, explain, parse
from postroad.config.options import Form, description, options
from postroad.config.schema import PeerOptions, Section

TEXT = """\
[server]
hostname = "mx.a.example"
[[listener]]
max_message_size = "10MB"
[[listener]]
address = "127.0.0.1:26"
[[listener.peers]]
network = "10.0.0.0/8"
[queue]
retry_interval = "90s"
"""
generation = parse(TEXT, "p.toml")


def test_a_value_of_the_file() -> None:
    (item,) = explain(generation, "queue.retry_interval")
    assert (item.name, item.value, item.text, item.unit) == ("queue.retry_interval", 90, '"90s"', "seconds")
    assert item.description == "Wait before the first retry; it doubles with each try."
    assert str(item.origin) == "p.toml:10"


def test_a_default() -> None:
    (item,) = explain(generation, "delivery.port")
    assert (item.value, item.text, item.origin) == (25, "25", None)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("listener.max_message_size", ["listener[0].max_message_size", "listener[1].max_message_size"]),
        ("listener[1].max_message_size", ["listener[1].max_message_size"]),
        ("listener.1.max_message_size", ["listener[1].max_message_size"]),
        ("listener.peers.network", ["listener[1].peers[0].network"]),
        ("http.keys.label", ["http.keys.label"]),
        ("dns", [f"dns.{name}" for name in options(type(Config().dns))]),
    ],
)
def test_names(name: str, names: list[str]) -> None:
    assert [item.name for item in explain(generation, name)] == names


def test_the_whole() -> None:
    assert explain(generation, "") == list(effective(generation))
    assert {item.name for item in effective(generation) if item.origin} == set(generation.origins)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("queue.retry_intervall", "there is no option queue.retry_intervall; did you mean queue.retry_interval?"),
        ("retry_interval", "there is no option retry_interval; did you mean queue.retry_interval?"),
        ("listener[2].relay", r"listener\[2\].relay: the file has no entry of this number"),
        ("nonsense.of.mine", "there is no option nonsense.of.mine$"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(UnknownOption, match=message):
        explain(generation, name)


def test_a_required_value_has_no_default() -> None:
    (item,) = explain(parse(""), "http.keys.sha256")
    assert (item.value, item.text) == (None, "(must be set)")


def test_difference() -> None:
    other = parse(TEXT.replace('"90s"', '"2m"').replace('[[listener.peers]]\nnetwork = "10.0.0.0/8"\n', ""))
    changes = {change.name: (change.before, change.after) for change in difference(generation, other)}
    assert changes.pop("queue.retry_interval") == ('"90s"', '"2m"')
    assert changes == {"listener[127.0.0.1:26].peers[10.0.0.0/8].network": ('"10.0.0.0/8"', "")}
    assert difference(generation, generation) == []


def _with_secrets(salt: str, word: str) -> Generation:
    return parse(
        '[server]\nhostname = "a.test"\n'
        f'[[smtp_user]]\nname = "u"\npassword = "SCRAM-SHA-256$10000:{salt}$'
        '9xl3phtdJdTWRoQMHz5mfGm2uZHWNOyYrGOf+L7IoJk=:USvBcdWOA+7e+LQrILmRmMK4+wc9hED578XBOoXXPts="\n'
        f'[[policy]]\nname = "p"\nfile = "p.py"\noptions = {{ login = "{word}" }}\n',
        "p.toml",
    )


def test_secrets_are_not_shown_but_that_they_changed_is() -> None:
    one, other = (
        _with_secrets(salt, word)
        for salt, word in (("8tF74A7Pt70ux1apiPvKng==", "xyzzy1"), ("9tF74A7Pt70ux1apiPvKng==", "xyzzy2"))
    )
    changes = difference(one, other)
    assert [change.name for change in changes] == ["policy[p].options", "smtp_user[u].password"]
    told = repr(changes) + repr([(item.value, item.text) for item in effective(one)])
    assert "xyzzy" not in told and "9xl3phtd" not in told and "(not shown: " in told
    assert difference(one, one) == []


def sections(section: type[Section]) -> list[type[Section]]:
    inner = [option.section for option in options(section).values() if option.section]
    return [section] + [deep for each in inner for deep in sections(each)]


@pytest.mark.parametrize("section", sections(Config))
def test_every_option_is_described(section: type[Section]) -> None:
    assert description(section).endswith(".")
    plain = [option for option in options(section).values() if option.section is None]
    assert [option.name for option in plain if not option.description] == []


def test_an_override_is_described_by_what_it_overrides() -> None:
    assert options(PeerOptions)["idle_time"].description.startswith("Silence before a session is closed")
    assert options(PeerOptions)["idle_time"].form is Form.DURATION and options(PeerOptions)["idle_time"].optional
