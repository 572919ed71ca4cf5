"""A file becomes options, or a list of everything that is wrong with it, each with its place."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import Config, ConfigError, load, parse
from postroad.config.schema import ApiKey, Duration, ListenerOptions, PeerOptions, Size

FULL = """\
[server]
hostname = "mx.a.example"
durability = "process"
memory_goal = "1GB"
drain_time = 2.5

[[listener]]
address = "0.0.0.0:25"
relay_domains = ["a.example", ".b.example"]
max_message_size = 1000000

  [[listener.peers]]
  network = "10.0.0.0/8"
  relay = true
  idle_time = "1m"

[[listener]]
address = "[::1]:2525"

[http]
keys = [{ label = "first", sha256 = "%s", networks = ["::1/128"] }]

[queue]
retry_interval = "90s"
retry_jitter = 0
""" % ("ab" * 32)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "p.toml")
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def test_values_and_their_origins() -> None:
    generation = parse(FULL, "etc/p.toml", 7)
    config = generation.config
    assert (config.server.hostname, config.server.durability) == ("mx.a.example", "process")
    assert (config.server.memory_goal, config.server.drain_time) == (1 << 30, 2.5)
    assert config.listener[0] == ListenerOptions(
        address="0.0.0.0:25",
        relay_domains=["a.example", ".b.example"],
        max_message_size=Size(1_000_000),
        peers=[PeerOptions(network="10.0.0.0/8", relay=True, idle_time=Duration(60))],
    )
    assert config.listener[1] == ListenerOptions(address="[::1]:2525")
    assert config.http.keys == [ApiKey(label="first", sha256="ab" * 32, networks=["::1/128"])]
    assert config.queue.retry_interval == Duration(90) and config.queue.retry_jitter == 0.0
    assert isinstance(config.server.drain_time, Duration) and isinstance(config.queue.retry_jitter, float)
    assert isinstance(config.server.memory_goal, Size)
    assert config.delivery == Config().delivery
    assert {name: origin.line for name, origin in generation.origins.items()} == {
        "server.hostname": 2,
        "server.durability": 3,
        "server.memory_goal": 4,
        "server.drain_time": 5,
        "listener[0].address": 8,
        "listener[0].relay_domains": 9,
        "listener[0].max_message_size": 10,
        "listener[0].peers[0].network": 13,
        "listener[0].peers[0].relay": 14,
        "listener[0].peers[0].idle_time": 15,
        "listener[1].address": 18,
        "http.keys[0].label": 21,
        "http.keys[0].sha256": 21,
        "http.keys[0].networks": 21,
        "queue.retry_interval": 24,
        "queue.retry_jitter": 25,
    }
    assert generation.number == 7 and generation.warnings == ()
    assert str(generation.origins["queue.retry_interval"]) == "etc/p.toml:24"
    assert generation.digest == hashlib.sha256(FULL.encode()).hexdigest()


def test_an_empty_file_is_the_defaults() -> None:
    assert parse("").config == Config()


def test_relative_folders_are_taken_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "postroad.toml"
    file.write_text('[server]\ndata_dir = "spool"\n')
    assert load(file).data_dir == tmp_path / "spool"
    file.write_text(f'[server]\ndata_dir = "{tmp_path}/elsewhere"\n')
    assert load(file).data_dir == tmp_path / "elsewhere"
    assert parse("", "postroad.toml").data_dir.is_absolute()


def test_nothing_in_a_generation_changes() -> None:
    generation = parse(FULL)
    with pytest.raises(AttributeError):
        generation.number = 8  # type: ignore[misc]
    with pytest.raises(AttributeError):
        generation.config.server.hostname = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        generation.origins["x"] = generation.origins["queue.retry_jitter"]  # type: ignore[index]


ERRORS = [
    ("[server]\nhostnme = 1", "p.toml:2:1: server.hostnme: there is no such option; did you mean hostname?"),
    ("[servr]", "p.toml:1:1: servr: there is no such option; did you mean server?"),
    ("  colour = 1", "p.toml:1:3: colour: there is no such option"),
    (
        "[queue]\nmax_sessions = 5",
        "p.toml:2:1: queue.max_sessions: there is no such option here;"
        " it belongs to [[listener.peers]] or [[listener]]",
    ),
    ("[server]\nhostname = 5", "p.toml:2:1: server.hostname: must be text, not 5"),
    ("[server]\nhostname = [[]]", "p.toml:2:1: server.hostname: must be text, not a list"),
    ("server.hostname.x = 1", "p.toml:1:1: server.hostname: must be text, not a table"),
    ("server = 5", "p.toml:1:1: server: must be a table, not 5"),
    ("[listener]", "p.toml:1:1: listener: must be a list of tables, not a table: write [[listener]]"),
    ("listener = [1]", "p.toml:1:13: listener[0]: must be a table, not 1"),
    ("[delivery]\nport = true", "p.toml:2:1: delivery.port: must be a whole number, not true"),
    ("[delivery]\nport = 25.0", "p.toml:2:1: delivery.port: must be a whole number, not 25.0"),
    ("[delivery]\nport = 0", "p.toml:2:1: delivery.port: must be 1 or more, not 0"),
    ("[delivery]\nport = 65536", "p.toml:2:1: delivery.port: must be 65535 or less, not 65536"),
    ("[delivery]\nuse_ipv6 = 1", "p.toml:2:1: delivery.use_ipv6: must be true or false, not 1"),
    (
        '[queue]\nretry_interval = "20 minutes"',
        'p.toml:2:1: queue.retry_interval: must be a time such as "500ms", "30s", "20m", "12h" or "5d"',
    ),
    ("[queue]\nretry_interval = []", "p.toml:2:1: queue.retry_interval: must be a time, not an empty list"),
    ("[queue]\nretry_interval = -1", 'p.toml:2:1: queue.retry_interval: must be "0s" or more, not "-1s"'),
    (
        "[queue]\nretry_interval = 1e20",
        'p.toml:2:1: queue.retry_interval: must be "36525d" or less, not "1e+20s"',
    ),
    (
        '[server]\nmemory_goal = "9999999TB"',
        'p.toml:2:1: server.memory_goal: must be "1048576TB" or less, not "9999999TB"',
    ),
    ("[queue]\nretry_interval = inf", "p.toml:2:1: queue.retry_interval: must be a time, not inf"),
    ("[queue]\nretry_interval = 0", "p.toml:2:1: queue.retry_interval: must be more than 0"),
    ("[queue]\nretry_jitter = nan", "p.toml:2:1: queue.retry_jitter: must be a number, not nan"),
    ("[queue]\nretry_jitter = 1.5", "p.toml:2:1: queue.retry_jitter: must be 1 or less, not 1.5"),
    (
        '[server]\nmemory_goal = "lots"',
        'p.toml:2:1: server.memory_goal: must be a size such as "512B", "64KB", "20MB" or "2GB"',
    ),
    ("[server]\nmemory_goal = 1.5", "p.toml:2:1: server.memory_goal: must be a size, not 1.5"),
    ('[journal]\nsegment_size = "1KB"', 'p.toml:2:1: journal.segment_size: must be "64KB" or more, not "1KB"'),
    (
        '[server]\ndurability = "pwer"',
        'p.toml:2:1: server.durability: must be one of "power", "process", "memory", not "pwer"; did you mean power?',
    ),
    ("[[http.keys]]\nlabel = 'a'", "p.toml:1:1: http.keys[0]: sha256 is missing"),
    (
        "[[http.keys]]\nlabel = 'a'\nsha256 = 'S3cret'",
        "p.toml:3:1: http.keys[0].sha256: does not have the form ^[0-9a-f]{64}$",
    ),
    ("dns.servers = ['127.0.0.1', 5]", "p.toml:1:1: dns.servers: must be a list of texts, not a list"),
    ("[server]\nhostname = 1979-05-27", "p.toml:2:1: server.hostname: must be text, not 1979-05-27"),
    ('[server]\nhostname = "a b"', "p.toml:2:1: server.hostname: is not a host name"),
    ("[server", "p.toml:1:8: Expected ']' at the end of a table declaration at the end of the file"),
    ("a = 1\na = 2\n", "p.toml:2:6: Cannot overwrite a value"),
    ("a =", "p.toml:1:4: Invalid value at the end of the file"),
]


@pytest.mark.parametrize(("text", "problem"), ERRORS)
def test_an_error_says_what_where_and_why(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_all_errors_at_once_in_the_order_of_the_file() -> None:
    text = (
        '[queue]\nretry_jitter = 2\n\n[[listener]]\nrelay = 1\nmax_recipients = 0\n[[listener]]\nbaner = "x"\n'
        "[server]\nx = 1\n"
    )
    assert [problem.split(": ")[:2] for problem in problems(text)] == [
        ["p.toml:2:1", "queue.retry_jitter"],
        ["p.toml:5:1", "listener[0].relay"],
        ["p.toml:6:1", "listener[0].max_recipients"],
        ["p.toml:8:1", "listener[1].baner"],
        ["p.toml:10:1", "server.x"],
    ]


def test_a_long_value_is_shortened() -> None:
    (problem,) = problems("[delivery]\nport = '" + "x" * 10_000 + "'")
    assert len(problem) < 200 and problem.endswith("...")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(FileNotFoundError):
        load(missing)
    with pytest.raises(ConfigError, match=r"can't be read: Is a directory"):
        load(tmp_path)
    binary = tmp_path / "bin.toml"
    binary.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(ConfigError, match=r"bin.toml:2:6: is not UTF-8 text"):
        load(binary)


@pytest.mark.parametrize("digits", ["9" * 400, "9" * 5000])
def test_hostile_numbers_are_errors(digits: str) -> None:
    assert len(problems(f"[queue]\nretry_interval = {digits}")) == 1
    assert len(problems(f"[server]\nmemory_goal = '{'9' * 5000}.5B'")) == 1


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_bytes(b"\xef\xbb\xbf[queue]\nretry_interval = 90\n")
    assert load(file).config.queue.retry_interval == Duration(90)


def test_hostile_nesting_is_an_error_and_no_crash() -> None:
    assert problems("a = " + "[" * 100_000) == ["p.toml: is nested too deeply"]


@given(st.text(max_size=200) | st.text("[]{}=\"'\\\n.,#abserver1", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        generation = parse(text)
    except ConfigError as error:
        assert error.problems
    else:
        assert generation.config == Config() or generation.origins or "[[" in text
