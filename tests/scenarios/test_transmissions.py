"""Transmissions to many recipients, seen from outside: each recipient exactly once, through kills, restarts and a
changed number of engines; the answer comes before the mail, and other mail goes on."""

from __future__ import annotations

import http.client
import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from postroad.journal import audit_all
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import Server, serving, until

RECIPIENTS = 1500
SOAK = int(os.environ.get("POSTROAD_TRANSMISSION", "100000"))  # recipients in the soak


def request(
    server: Server, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
    try:
        connection.request(
            method,
            f"/api/v1{path}",
            None if body is None else json.dumps(body),
            {"Authorization": server.key, "Content-Type": "application/json", **(headers or {})},
        )
        answer = connection.getresponse()
        octets = answer.read()
        return answer.status, json.loads(octets) if octets else None
    finally:
        connection.close()


def managed(server: Server) -> bool:
    """The management API has opened its store."""
    return request(server, "GET", "/transmissions")[0] == 200


def mailing(addresses: list[str], **members: object) -> dict[str, object]:
    content = {"from": "news@sender.test", "subject": "Hello", "text": "Hello all"}
    return {"recipients": [{"address": address} for address in addresses], "content": content, **members}


def addresses(count: int, name: str = "r") -> list[str]:
    return [f"{name}{number}@one{number % 7}.test" for number in range(count)]


@pytest.mark.parametrize("engines", [1, 2])
def test_each_recipient_once_through_kills(tmp_path: Path, engines: int) -> None:
    through_kills(tmp_path, engines, RECIPIENTS, 60)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engines", [1, 2])
def test_each_of_many_recipients_once_through_kills(tmp_path: Path, engines: int) -> None:
    through_kills(tmp_path, engines, SOAK, 1500)


def through_kills(folder: Path, engines: int, recipients: int, seconds: float) -> None:
    """seconds: limit of each wait."""
    chance = random.Random(engines)
    to = addresses(recipients)
    with FarEnd(keep=False) as far, serving(folder, gateway=far.port, engines=engines) as server:
        status, answer = request(server, "POST", "/transmissions", mailing(to))
        assert (status, answer["results"]["total_accepted_recipients"]) == (200, recipients)
        kills = 0
        while kills < 4:
            seen = len(far.taken)
            wanted = min(seen + chance.randrange(1, recipients // 4), recipients)
            until(lambda goal=wanted: len(far.taken) >= goal, "mail arrives", seconds)  # type: ignore[misc]
            server.kill()
            kills += 1
            server.start()
        until(lambda: len(far.taken) >= recipients, "nearly all is delivered", seconds)
        until(lambda: len(far.copies()) == recipients and server.quiet(), "all is delivered", seconds)
        assert server.stop() == 0
        copies = far.copies()
    assert set(copies) == set(to)
    total, _ = audit_all(server.data)
    assert total.clean
    told = server.command("audit", "--json", "--config", str(server.config))
    assert told.returncode == 0, told.stdout
    jobs = json.loads(told.stdout)["jobs"]
    assert [(job["recipients"], job["accepted"], job["failed"], job["to_come"]) for job in jobs] == [
        (recipients, recipients, 0, 0)
    ]
    # What was in flight at a kill may have been taken twice by the far end (docs/explanation/durability.md), but each
    # recipient was accepted once: so many messages, and the job itself.
    assert total.accepted == recipients + 1
    print(f"{kills} kills, {sum(copies.values()) - recipients} taken twice by the far end")


def shown(server: Server, number: str) -> dict[str, Any]:
    status, answer = request(server, "GET", f"/transmissions/{number}")
    assert status == 200, answer
    found: dict[str, Any] = answer["results"]["transmission"]
    return found


def later(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + seconds))


def test_progress_and_the_end(tmp_path: Path) -> None:
    to = addresses(400)
    with FarEnd(keep=False) as far, serving(tmp_path, gateway=far.port, engines=2) as server:
        until(lambda: managed(server), "the management API answers")
        body = mailing(
            [*to, "nobody"], campaign_id="autumn", metadata={"tier": "gold"}, options={"open_tracking": False}
        )
        status, answer = request(server, "POST", "/transmissions", body)
        assert (status, answer["results"]["total_rejected_recipients"]) == (200, 1)
        number = answer["results"]["id"]
        until(lambda: shown(server, number)["state"] == "Success", "it is generated")
        one = shown(server, number)
        assert (one["num_rcpts"], one["num_generated"], one["num_failed_gen"]) == (400, 400, 0)
        assert (one["campaign_id"], one["metadata"]) == ("autumn", {"tier": "gold"})
        assert (one["content"], one["options"]) == ({"template_id": "inline"}, {"open_tracking": False})
        assert one["generation_start_time"] <= one["generation_end_time"]
        until(lambda: len(far.copies()) == 400, "it is delivered")
        # It is known after a restart as well.
        assert server.stop() == 0
        server.start()
        until(server.recovered, "the journals are loaded")
        until(lambda: managed(server), "the management API answers")
        assert shown(server, number)["state"] == "Success"
        listed = request(server, "GET", "/transmissions?campaign_id=autumn")[1]["results"]
        assert [(each["id"], each["state"]) for each in listed] == [(number, "Success")]
        assert request(server, "GET", "/transmissions?campaign_id=spring")[1] == {"results": []}
        assert request(server, "GET", "/transmissions/77")[0] == 404
        assert request(server, "DELETE", f"/transmissions/{number}")[0] == 409
        assert set(far.copies().values()) == {1}


def test_scheduled_and_cancelled(tmp_path: Path) -> None:
    to = addresses(60)
    with FarEnd(keep=False) as far, serving(tmp_path, gateway=far.port) as server:
        until(lambda: managed(server), "the management API answers")
        numbers = {}
        for name, wait in (("soon", 10.0), ("late", 7200.0), ("near", 300.0), ("camp", 7200.0)):
            body = mailing([f"{name}.{address}" for address in to], campaign_id=name)
            status, answer = request(server, "POST", "/transmissions", {**body, "options": {"start_time": later(wait)}})
            assert status == 200, answer
            numbers[name] = answer["results"]["id"]
        assert shown(server, numbers["late"])["state"] == "submitted"
        status, answer = request(server, "DELETE", f"/transmissions/{numbers['near']}")
        assert (status, answer["errors"][0]["code"]) == (409, "2003")
        server.kill()
        server.start()
        until(server.recovered, "the journal is loaded")
        until(lambda: managed(server), "the management API answers")
        told = server.command("transmission", "cancel", numbers["late"], "--dry-run", "--config", str(server.config))
        assert "would be cancelled" in told.stdout + told.stderr
        assert request(server, "DELETE", f"/transmissions/{numbers['late']}")[0] == 204
        assert request(server, "DELETE", "/transmissions?campaign_id=camp")[0] == 204
        until(lambda: shown(server, numbers["soon"])["state"] == "Success", "the time has come")
        for name in ("late", "camp"):
            until(
                lambda name=name: shown(server, numbers[name])["num_failed_gen"] == len(to),  # type: ignore[misc]
                "each recipient is told to be cancelled",
            )
            assert shown(server, numbers[name])["state"] == "Canceled"
        until(lambda: len(far.copies()) == len(to), "the one is delivered")
        assert all(address.startswith("soon.") for address in far.copies())
        assert shown(server, numbers["near"])["state"] == "submitted"
        events = server.command("events", "tail", "--json", "--config", str(server.config)).stdout.splitlines()
        bounces = [event for line in events if (event := json.loads(line))["type"] == "bounce"]
        assert len(bounces) == 2 * len(to)
        assert {event["bounce_class"] for event in bounces} == {"25"}
        assert all(event["reason"].startswith("554 5.7.1 [internal] Campaign cancelled") for event in bounces)


def test_other_mail_goes_on(tmp_path: Path) -> None:
    """One recipient over HTTP is answered and delivered while a long transmission is generated; the queue is not
    overfilled."""
    to = addresses(RECIPIENTS)
    room = "job_room = 200"
    with FarEnd(keep=False) as far, serving(tmp_path, gateway=far.port, http=room) as server:
        until(lambda: managed(server), "the management API answers")
        number = request(server, "POST", "/transmissions", mailing(to))[1]["results"]["id"]
        most = 0
        between = 0
        while shown(server, number)["state"] != "Success":
            status, _ = request(server, "POST", "/transmissions", mailing([f"single{between}@one.test"]))
            assert status == 200
            between += 1
            most = max(most, *(each[0] for each in server.each()))
        until(lambda: len(far.copies()) == RECIPIENTS + between and server.quiet(), "all is delivered")
        assert between > 3
        assert most < 200 + 24 + between


@pytest.mark.parametrize("engines", [1, 2])
def test_a_key_makes_one_mailing(tmp_path: Path, engines: int) -> None:
    key = {"Idempotency-Key": "order-4711"}
    body = mailing(["a@one.test", "b@two.test"])
    with FarEnd(keep=False) as far, serving(tmp_path, gateway=far.port, engines=engines) as server:
        until(server.recovered, "the journal is loaded")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: request(server, "POST", "/transmissions", body, key), range(16)))
        assert {status for status, _ in answers} == {200}
        assert len({answer["results"]["id"] for _, answer in answers}) == 1
        server.kill()
        server.start()
        until(server.recovered, "the journal is loaded")
        assert request(server, "POST", "/transmissions", body, key) == answers[0]
        status, answer = request(server, "POST", "/transmissions", mailing(["c@one.test"]), key)
        assert (status, answer["errors"][0]["code"]) == (409, "1602")
        until(lambda: len(far.copies()) == 2 and server.quiet(), "it is delivered")
        assert server.stop() == 0
    total, _ = audit_all(server.data)
    assert (total.clean, total.accepted) == (True, 3)


def test_jobs_when_the_number_of_engines_changes(tmp_path: Path) -> None:
    """Killed in the midst of it and started with another number, again and again."""
    chance = random.Random(5)
    to = addresses(RECIPIENTS, "m")
    with FarEnd(keep=False) as far, serving(tmp_path, gateway=far.port, engines=2) as server:
        for start in range(0, RECIPIENTS, RECIPIENTS // 3):
            status, _ = request(server, "POST", "/transmissions", mailing(to[start : start + RECIPIENTS // 3]))
            assert status == 200
        for engines in (1, 3, 1):
            wanted = min(len(far.taken) + chance.randrange(1, RECIPIENTS // 4), RECIPIENTS)
            until(lambda goal=wanted: len(far.taken) >= goal, "mail arrives")  # type: ignore[misc]
            server.kill()
            server.configure(engines)
            server.start()
        until(lambda: len(far.copies()) == RECIPIENTS and server.quiet(), "all is delivered")
        assert server.stop() == 0
        assert set(far.copies()) == set(to)
    total, _ = audit_all(server.data)
    assert total.clean
    assert total.accepted == RECIPIENTS + 3
