"""Logging in at hosts: the words of each mechanism, what a session comes to, and that secrets stay where they are."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from postroad.auth.sasl import Challenge, Proven, Scram
from postroad.auth.scram import make_verifier
from postroad.deliver.login import Credential, LoginError, read_secret
from postroad.deliver.machine import Machine
from postroad.deliver.steps import Manner, Step
from postroad.message import Stage, Verdict
from tests.deliver.peers import Peer, Wrong, peers, scene
from tests.deliver.supply import Shelf, message

PLAIN = b64encode(b"\0user\0pencil")
OFFER = b"250-peer.example.net\r\n250 AUTH PLAIN LOGIN XOAUTH2\r\n"


def test_scram_says_what_the_example_of_rfc_7677_says() -> None:
    exchange = Credential("user", "pencil").exchange("SCRAM-SHA-256", "rOprNGfwEbeRWgbNEkqO")
    assert exchange.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    assert exchange.answer(b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096") == (
        b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    with pytest.raises(LoginError, match="did not show"):
        exchange.accepted()
    assert exchange.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    exchange.accepted()


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=nonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",  # nothing added to our nonce
        b"r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=nonceX,s=W22Za,i=4096",
        b"r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=9999999",  # hours of our time
        b"r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
    ],
)
def test_a_hostile_first_scram_message(challenge: bytes) -> None:
    exchange = Credential("user", "pencil").exchange("SCRAM-SHA-256", "nonce")
    with pytest.raises(LoginError):
        exchange.answer(challenge)


def test_a_host_that_does_not_know_the_secret_is_found_out() -> None:
    exchange = Credential("user", "pencil").exchange("SCRAM-SHA-256", "nonce")
    exchange.answer(b"r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    with pytest.raises(LoginError, match="does not know"):
        exchange.answer(b"v=" + b64encode(bytes(32)))


def test_scram_with_a_server() -> None:
    """Names hold what SCRAM itself uses as marks."""
    server = Scram(lambda user: make_verifier("pencil", b"salt"), "theirs")
    exchange = Credential("a=b,c", "pencil").exchange("SCRAM-SHA-256", "ours")
    said = server.step(exchange.first())
    for _ in range(2):
        assert isinstance(said, Challenge)
        said = server.step(exchange.answer(said.octets))
    exchange.accepted()
    assert said == Proven("a=b,c")


@pytest.mark.parametrize(
    ("mechanism", "offered", "chosen"),
    [
        ("", ("LOGIN", "PLAIN", "SCRAM-SHA-256"), "SCRAM-SHA-256"),
        ("", ("LOGIN", "PLAIN"), "PLAIN"),
        ("", ("XOAUTH2", "CRAM-MD5"), ""),  # a password is no token
        ("XOAUTH2", ("XOAUTH2", "PLAIN"), "XOAUTH2"),
        ("LOGIN", ("PLAIN",), ""),
    ],
)
def test_the_mechanism(mechanism: str, offered: tuple[str, ...], chosen: str) -> None:
    assert Credential("u", "s", mechanism).choose(offered) == chosen


def test_a_credential_does_not_show_its_secret() -> None:
    assert "pencil" not in repr(Manner(credential=Credential("user", "pencil")))


def test_where_secrets_are(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("pen cil \r\n")
    assert read_secret(f"file:{file}") == "pen cil "
    assert read_secret("env:RELAY", {"RELAY": "pencil"}.get) == "pencil"
    for place in ("env:ABSENT", f"file:{tmp_path}/absent", f"file:{tmp_path}", "pencil"):
        with pytest.raises(ValueError, match=r"has no|can't be read|must be") as caught:
            read_secret(place, lambda name: None)
        assert "pencil" not in str(caught.value)
    file.write_bytes(b"\n")
    with pytest.raises(ValueError, match="empty"):
        read_secret(f"file:{file}")


def test_a_long_initial_response_waits_for_a_challenge() -> None:
    token = "t" * 2000
    machine = Machine("us.example", manner=Manner(credential=Credential("user", token, "XOAUTH2", True)))
    machine.receive(b"220 hi\r\n")
    machine.output.clear()
    machine.receive(OFFER)
    assert machine.output == [b"AUTH XOAUTH2\r\n"]
    machine.output.clear()
    machine.receive(b"334 \r\n")
    (line,) = machine.output
    assert b64decode(line) == f"user=user\x01auth=Bearer {token}\x01\x01".encode()
    machine.output.clear()
    machine.receive(b"235 ok\r\n")
    assert machine.step is Step.READY


def options(tmp_path: Path, **more: Any) -> dict[str, Any]:
    (tmp_path / "secret").write_text("pencil\n")
    secret = f"file:{tmp_path}/secret"
    return {"smtp_auth_user": "user", "smtp_auth_secret": secret, "smtp_auth_in_clear": True, "tls": "no", **more}


async def test_a_login_before_the_first_message(tmp_path: Path) -> None:
    peer = Peer(ehlo=OFFER, auth=b"235 2.7.0 welcome\r\n")
    async with peers(peer) as port, scene(port, shelf=Shelf(map(message, range(3))), **options(tmp_path)) as at:
        await at.run(3)
        assert {at.shelf.outcome(number).verdict for number in range(3)} == {Verdict.DELIVERED}
    assert peer.commands[1][1] == b"AUTH PLAIN " + PLAIN
    assert sum(line.startswith(b"AUTH") for line in peer.commands[1]) == 1


async def test_login_in_two_words(tmp_path: Path) -> None:
    peer = Peer(ehlo=OFFER)
    words = {b"AUTH LOGIN": b"334 VXNlcm5hbWU6\r\n", b64encode(b"user"): b"334 UGFzc3dvcmQ6\r\n"}
    words[b64encode(b"pencil")] = b"235 welcome\r\n"
    peer.judge = lambda step, line, connection: words.get(line)
    given = options(tmp_path, smtp_auth_mechanism="LOGIN")
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), **given) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is Verdict.DELIVERED


@pytest.mark.parametrize(
    ("ehlo", "auth", "code", "internal"),
    [
        (OFFER, b"535 5.7.8 wrong\r\n", 535, False),
        (OFFER, b"454 4.7.0 later\r\n", 454, False),
        (OFFER, b"421 4.3.2 not now\r\n", 421, False),
        (OFFER, b"334 !!!!\r\n", 451, True),
        (OFFER, b"334 \r\n", 451, True),  # PLAIN has no more to say
        (OFFER, Wrong.CLOSE, 451, True),
        (b"250 peer.example.net\r\n", b"235 ok\r\n", 451, True),
    ],
)
async def test_without_a_login_mail_waits(
    tmp_path: Path, ehlo: bytes, auth: bytes | Wrong, code: int, internal: bool
) -> None:
    peer = Peer(ehlo=ehlo, auth=auth)
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), **options(tmp_path)) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
    assert (outcome.verdict, outcome.reply.code, outcome.stage) == (Verdict.DEFERRED, code, Stage.AUTH)
    assert outcome.internal is internal and "pencil" not in str(outcome) and not peer.received


async def test_no_login_in_the_clear(tmp_path: Path) -> None:
    peer = Peer(ehlo=OFFER)
    given = options(tmp_path, smtp_auth_in_clear=False, tls="if-available")
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), **given) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
    assert outcome.verdict is Verdict.DEFERRED and "encrypted" in outcome.reply.text
    assert not any(line.startswith(b"AUTH") for line in peer.commands[1])


async def test_a_secret_that_is_not_there(tmp_path: Path) -> None:
    given = options(tmp_path, smtp_auth_secret=f"file:{tmp_path}/absent")
    async with peers(Peer()) as port, scene(port, shelf=Shelf([message()]), **given) as at:
        await at.run(1)
        assert "smtp_auth_secret can't be used" in at.shelf.outcome().reply.text
