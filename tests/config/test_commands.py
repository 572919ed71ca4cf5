"""`postroad init`, `config check` and `config explain`, as a user sees them."""

import hashlib
import json
import stat
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from postroad.cli.config import config_app, init
from postroad.config import load

app = typer.Typer()
app.command()(init)
app.add_typer(config_app, name="config")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_init_writes_a_configuration_that_works(tmp_path: Path) -> None:
    result = run("init", tmp_path / "mail" / "one", "--hostname", "mx.a.example")
    assert result.exit_code == 0, result.output
    file = tmp_path / "mail" / "one" / "postroad.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    generation = load(file)
    assert generation.warnings == () and generation.config.server.hostname == "mx.a.example"
    key = result.output.strip().rsplit(" ", 1)[1]
    assert generation.config.http.keys[0].sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert key not in file.read_text()


def test_init_for_programs(tmp_path: Path) -> None:
    result = run("init", tmp_path, "--hostname", "mx.a.example", "--json")
    answer = json.loads(result.stdout)
    assert set(answer) == {"config", "api_key"} and load(Path(answer["config"])).config.listener


def test_init_leaves_a_file_alone(tmp_path: Path) -> None:
    (tmp_path / "postroad.toml").write_text("mine")
    result = run("init", tmp_path)
    assert result.exit_code == 1 and "postroad.toml exists; nothing was written" in result.stderr
    assert (tmp_path / "postroad.toml").read_text() == "mine"


def test_init_refuses_what_would_not_work(tmp_path: Path) -> None:
    result = run("init", tmp_path, "--hostname", "a b")
    assert result.exit_code == 2 and "server.hostname: is not a host name" in result.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    result = run("init", tmp_path / "file" / "x", "--hostname", "mx.a.example")
    assert result.exit_code == 1 and "Not a directory" in result.stderr and "Traceback" not in result.output


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "p.toml"
    path.write_text('[server]\nhostname = "mx.a.example"\n[queue]\nretry_interval = "90s"\n')
    return path


def test_check(file: Path) -> None:
    result = run("config", "check", file)
    assert result.exit_code == 0 and result.stdout == f"{file}: good, 2 options set\n"
    assert result.stderr == f"{file}: http.keys: there is no key: every request will be refused (warning)\n"
    file.write_text("[queue]\nretry_interval = 0\n[server]\nx = 1\n")
    result = run("config", "check", "--config", file)
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr == f"{file}:4:1: server.x: there is no such option\n"


def test_check_for_programs(file: Path) -> None:
    answer = json.loads(run("config", "check", file, "--json").stdout)
    assert answer["ok"] and answer["problems"] == [] and answer["warnings"][0]["name"] == "http.keys"
    file.write_text("[queue]\nretry_interval = 0\n")
    result = run("config", "check", file, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["problems"] == [
        {"file": str(file), "line": 2, "column": 1, "name": "queue.retry_interval", "text": "must be more than 0"}
    ]


@pytest.mark.parametrize(
    ("section", "line", "name", "wrong"),
    [
        ('[[policy]]\nfile = "policy.py"', 2, "policy[0].file", "policy.py:1"),
        ('[[policy]]\nfile = "none.py"', 2, "policy[0].file", "none.py"),
        (
            '[[rule]]\nname = "r"\nphase = "rcpt_to"\nwhen = "1 +"\naction = "reject"',
            4,
            "rule[0].when",
            "no expression",
        ),
        ('[[dkim]]\ndomain = "a.test"\nselector = "s"\nkey = "none.key"', 4, "dkim[0].key", "none.key"),
        ('[[dkim]]\ndomain = "a.test"\nselector = "s"\nkey = "PEM"', 4, "dkim[0].key", "a.test"),
        (
            '[[listener]]\naddress = "127.0.0.1:0"\ntls = "offered"\n[[listener.certificates]]\ncertificate = "PEM"',
            4,
            "listener[0].certificates[0]",
            "its key can't be used",
        ),
        (
            '[delivery]\nsmtp_auth_user = "u"\nsmtp_auth_secret = "file:/none/at/all"',
            3,
            "delivery.smtp_auth_secret",
            "/none/at/all can't be read",
        ),
        (
            '[[binding]]\nname = "b"\nsmtp_auth_user = "u"\nsmtp_auth_secret = "file:/none/at/all"',
            4,
            "binding[0].smtp_auth_secret",
            "/none/at/all can't be read",
        ),
    ],
)
def test_check_looks_at_the_files_that_are_named(file: Path, section: str, line: int, name: str, wrong: str) -> None:
    (file.parent / "policy.py").write_text("def broken(:\n")
    pem = file.parent / "broken.pem"
    pem.write_text("not-to-be-told")
    file.write_text('[server]\nhostname = "a.test"\n' + section.replace("PEM", str(pem)) + "\n")
    result = run("config", "check", file)
    assert result.exit_code == 1
    assert f"{file}:{line + 2}:1: {name}: " in result.stderr and wrong in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and "not-to-be-told" not in result.stderr


def test_check_finds_all_faults_of_files_at_once(file: Path) -> None:
    rule = '[[rule]]\nwhen = "1 +"\naction = "reject"\n'
    file.write_text('[server]\nhostname = "a.test"\n[[policy]]\nfile = "none.py"\n' + rule + rule)
    result = run("config", "check", file)
    assert [f"{file}:{line}:1: " in result.stderr for line in (4, 6, 9)] == [True] * 3, result.stderr


def test_check_finds_two_policies_of_one_name(file: Path) -> None:
    (file.parent / "one.py").write_text("def connect(facts):\n    return None\n")
    file.write_text('[server]\nhostname = "a.test"\n' + '[[policy]]\nfile = "one.py"\n' * 2)
    result = run("config", "check", file)
    assert result.exit_code == 1 and "two policies have the name 'one'" in result.stderr, result.stderr


def test_check_of_no_file(tmp_path: Path) -> None:
    result = run("config", "check", tmp_path / "none.toml")
    assert result.exit_code == 1 and "there is no" in result.stderr


def test_explain(file: Path) -> None:
    result = run("config", "explain", "queue.retry_interval", "--config", file)
    assert result.stdout == (
        'queue.retry_interval = "90s"  (seconds)\n'
        "    Wait before the first retry; it doubles with each try.\n"
        f"    {file}:4\n"
    )
    assert "default" in run("config", "explain", "delivery.port", "--config", file).stdout


def test_explain_for_programs(file: Path) -> None:
    answer = json.loads(run("config", "explain", "server", "--config", file, "--json").stdout)
    assert {row["name"]: row["origin"] for row in answer}["server.hostname"] == {"file": str(file), "line": 2}
    assert {row["name"]: row["origin"] for row in answer}["server.data_dir"] is None
    assert len(json.loads(run("config", "explain", "--config", file, "--json").stdout)) > 50


def test_explain_of_a_wrong_name(file: Path) -> None:
    result = run("config", "explain", "queue.retry", "--config", file)
    assert result.exit_code == 1
    assert result.stderr == "postroad: there is no option queue.retry; did you mean queue.retry_jitter?\n"
