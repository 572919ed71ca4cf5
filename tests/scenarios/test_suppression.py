"""The suppression list, end to end: who is on it gets no mail and an event tells why, whichever engine is asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroad.auth import new_key
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import serving, until
from tests.scenarios.test_stored_content import Place

LETTER = {"from": "news@sender.test", "subject": "Hello", "text": "t"}
REASON = "554 5.7.1 recipient address was suppressed due to customer policy"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    key, digest = new_key()
    extra = f'[[http.keys]]\nlabel = "all"\nsha256 = "{digest}"\ngrants = ["admin", "transmissions"]\n'
    with FarEnd() as far, serving(tmp_path, gateway=far.port, engines=2, extra=extra) as server:
        found = Place(server, far, key)
        until(lambda: found.ask("GET", "/templates")[0] == 200, "the store is open")
        yield found
        assert server.stop() == 0


def send(place: Place, *addresses: str, subaccount: int | None = None, **more: Any) -> Any:
    body = {"content": LETTER, "recipients": [{"address": each} for each in addresses], **more}
    status, answer = place.ask("POST", "/transmissions", body, subaccount=subaccount)
    assert status == 200, answer
    assert answer["results"]["total_accepted_recipients"] == len(addresses)
    return answer["results"]["id"]


def events(place: Place) -> list[dict[str, Any]]:
    done = place.server.command("events", "tail", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def bounces(place: Place, address: str) -> list[dict[str, Any]]:
    return [each for each in events(place) if each["type"] == "bounce" and each.get("rcpt_to") == address]


def delivered(place: Place, address: str) -> int:
    return sum(taken.recipient == address for taken in place.far.taken)


def test_who_is_on_the_list_gets_no_mail(place: Place) -> None:
    put = {"recipients": [{"recipient": "Ann@One.test", "type": "non_transactional"}]}
    assert place.ask("PUT", "/suppression-list", put)[0] == 200
    for _ in range(4):  # any engine
        send(place, "ann@one.test")
    number = send(place, "ANN@one.test", "bob@one.test", "eve@one.test")
    until(lambda: delivered(place, "bob@one.test") and delivered(place, "eve@one.test"), "mail to the others")
    until(lambda: len(bounces(place, "ann@one.test")) == 5, "five bounces")
    (bounce,) = (each for each in bounces(place, "ann@one.test") if each["transmission_id"] == number)
    assert (bounce["bounce_class"], bounce["error_code"]) == ("25", "554")
    assert bounce["raw_reason"].startswith(REASON)
    # It was the other kind of mail, or they insist.
    send(place, "ann@one.test", options={"transactional": True})
    until(lambda: delivered(place, "ann@one.test") == 1, "transactional mail")
    send(place, "ann@one.test", options={"skip_suppression": True})
    until(lambda: delivered(place, "ann@one.test") == 2, "mail for which the list does not count")
    # Taken away, it counts no more, for the very next request.
    assert place.ask("DELETE", "/suppression-list/ann@one.test")[0] == 204
    send(place, "ann@one.test")
    until(lambda: delivered(place, "ann@one.test") == 3, "mail")
    # Every recipient ended in one way.
    assert sum(taken.recipient.lower() == "ann@one.test" for taken in place.far.taken) == 3
    assert place.server.command("audit").returncode == 0


def test_lists_and_subaccounts(place: Place) -> None:
    status, answer = place.ask("POST", "/subaccounts", {"name": "seven", "setup_api_key": False})
    assert status == 200, answer
    seven = answer["results"]["subaccount_id"]
    entry = {"recipient": "ann@one.test", "type": "non_transactional", "list_id": "news.one.test"}
    assert place.ask("PUT", "/suppression-list", {"recipients": [entry]})[0] == 200
    entry = {"recipient": "bob@one.test", "type": "non_transactional"}
    assert place.ask("PUT", "/suppression-list", {"recipients": [entry]}, subaccount=seven)[0] == 200
    send(place, "ann@one.test", "bob@one.test")
    send(place, "ann@one.test", subaccount=seven)
    until(lambda: delivered(place, "ann@one.test") == 2 and delivered(place, "bob@one.test") == 1, "mail")
    send(place, "ann@one.test", override={"list_id": "news.one.test"})
    send(place, "bob@one.test", subaccount=seven)
    until(lambda: bounces(place, "ann@one.test") and bounces(place, "bob@one.test"), "two bounces")
    assert bounces(place, "bob@one.test")[0]["subaccount_id"] == str(seven)
    assert len(place.far.taken) == 3


def test_the_command(place: Place, tmp_path: Path) -> None:
    """A server that runs tells its engines at once; without one the command works on the store itself."""
    command = place.server.command

    def run(*arguments: str, code: int = 0) -> str:
        done = command("suppression", *arguments)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout + done.stderr

    rows = [f"p{n}@one.test,both?,why" for n in range(1)]
    file = tmp_path / "in.csv"
    file.write_text("recipient,type,description\n" + "\n".join(rows) + "\nann@one.test,non_transactional,asked\n")
    assert "line 2: Type must be one of" in run("import", str(file), code=1)
    assert "1 entries are good" in run("import", str(file), "--dry-run", code=1)
    assert "not on the list" in run("check", "ann@one.test")
    lines = [{"recipient": f"p{n}@one.test", "transactional": True, "non_transactional": True} for n in range(3000)]
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(map(json.dumps, [*lines, {"recipient": "ann@one.test", "type": "non_transactional"}])))
    assert "6001 entries are good" in run("import", str(file), "--dry-run")
    assert "6001 of 6001 entries were taken" in run("import", str(file))
    send(place, "ann@one.test", "p7@one.test", "free@one.test")
    until(lambda: delivered(place, "free@one.test"), "mail")
    until(lambda: bounces(place, "ann@one.test") and bounces(place, "p7@one.test"), "bounces")
    run("add", "Law@one.test", "--type", "transactional", "--compliance", "--description", "court")
    assert "Compliance" in run("check", "law@one.test", code=1)
    assert place.ask("DELETE", "/suppression-list/law@one.test")[0] == 403
    assert "is there for compliance" in run("remove", "law@one.test", code=1)
    assert "others are there for compliance" in run("add", "law@one.test", code=1)
    assert "2 entries removed" in run("remove", "law@one.test", "--compliance")
    assert "1 entries removed" in run("remove", "ann@one.test", "--type", "non_transactional")
    assert "not on the list" in run("remove", "ann@one.test", code=1)
    send(place, "ann@one.test")
    until(lambda: delivered(place, "ann@one.test") == 1, "mail")
    assert "there is no subaccount 5" in run("add", "a@one.test", "--subaccount", "5", code=1)
    assert "'x' is no address" in run("add", "x", code=1)
    # The same without a server.
    assert place.server.stop() == 0
    out = tmp_path / "out.csv"
    assert "6000 entries" in run("export", str(out))
    assert "6000 of 6000 entries were taken" in run("import", str(out))
    assert run("export").splitlines()[0].startswith("recipient,type,list_id")
    run("add", "late@one.test")
    assert len(json.loads(command("suppression", "check", "late@one.test", "--json").stdout)) == 2
    place.server.start()
    until(lambda: place.ask("GET", "/templates")[0] == 200, "the store is open")
    send(place, "late@one.test")
    until(lambda: bounces(place, "late@one.test"), "a bounce")
    assert not delivered(place, "late@one.test")


def test_an_import_that_was_cut_off_is_run_again(place: Place, tmp_path: Path) -> None:
    """Control is killed in the middle of it: mail goes on, and the second run brings what is missing."""
    file = tmp_path / "in.csv"
    total = 20_000
    rows = (f"c{n}@one.test,non_transactional,row {n}\n" for n in range(total))
    file.write_text("recipient,type,description\n" + "".join(rows))
    arguments = [sys.executable, "-m", "postroad", "suppression", "import", str(file)]

    def on_the_list() -> int:
        status, answer = place.ask("GET", "/suppression-list/summary")
        return int(answer["results"]["total"]) if status == 200 else -1

    with subprocess.Popen(
        arguments, cwd=place.server.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        until(lambda: on_the_list() > 0, "it has begun")
        os.kill(place.server.children()["control"], signal.SIGKILL)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 1, out
    assert "postroad: " in err
    send(place, "free@one.test")
    until(lambda: delivered(place, "free@one.test"), "mail")
    until(lambda: on_the_list() > 0, "control is back")
    assert on_the_list() < total
    done = place.server.command("suppression", "import", str(file))
    assert (done.returncode, done.stdout.strip()) == (0, f"{total} of {total} entries were taken"), done.stderr
    assert on_the_list() == total
    numbers = (0, total // 2, total - 1)
    for number in numbers:
        send(place, f"c{number}@one.test")
    until(lambda: all(bounces(place, f"c{number}@one.test") for number in numbers), "bounces")
    assert [taken.recipient for taken in place.far.taken] == ["free@one.test"]
