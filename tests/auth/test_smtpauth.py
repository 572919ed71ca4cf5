"""Passwords, SCRAM and guessing, without a session: vectors of the RFCs, and whatever may come."""

from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.auth import new_key
from postroad.auth.guesses import Guesses
from postroad.auth.keys import ApiKeys, Entry, Key
from postroad.auth.sasl import Challenge, Claim, Failed, Login, Plain, Proven, Scram, XOAuth2
from postroad.auth.scram import Verifier, make_verifier, matches, parse_verifier
from postroad.auth.smtpauth import SmtpUsers
from postroad.config.schema import SmtpUser

# RFC 7677 3
SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
VERIFIER = make_verifier("pencil", SALT, 4096)
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="


def scram() -> Scram:
    return Scram(lambda user: VERIFIER, SERVER_NONCE)


def test_the_exchange_of_rfc_7677() -> None:
    exchange = scram()
    assert exchange.step(FIRST) == Challenge(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert exchange.step(FINAL) == Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert exchange.step(b"") == Proven("user")


@given(st.integers(0, len(FINAL) - 1), st.integers(1, 255))
def test_no_octet_of_the_proof_may_be_another(at: int, change: int) -> None:
    exchange = scram()
    exchange.step(FIRST)
    bent = bytearray(FINAL)
    bent[at] ^= change
    assert isinstance(exchange.step(bytes(bent)), Failed)


@given(st.sampled_from([Plain, Login, XOAuth2, scram]), st.lists(st.binary(max_size=60) | st.none(), max_size=4))
def test_whatever_is_said_is_taken_in(make: type[Plain], responses: list[bytes | None]) -> None:
    exchange = make()
    for response in responses:
        step = exchange.step(response)
        assert not isinstance(step, Proven)
        assert isinstance(step, (Challenge, Claim, Failed))
        if not isinstance(step, Challenge):
            break


@given(st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text and text.isprintable()))
def test_plain_takes_every_password(password: str) -> None:
    assert Plain().step(f"\0user\0{password}".encode()) == Claim("user", password)


def test_secrets_are_not_shown() -> None:
    assert "pencil" not in repr(Claim("user", "pencil"))
    assert repr(VERIFIER) == "Verifier((secret))"


def test_a_verifier_is_kept_as_text() -> None:
    text = str(VERIFIER)
    assert text.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert parse_verifier(text) == VERIFIER
    assert matches(parse_verifier(text), "pencil") and not matches(VERIFIER, "Pencil")


def test_passwords_that_look_alike_are_alike() -> None:
    assert matches(make_verifier("p\u00e4ss\u00a0w", SALT, 4096), "pa\u0308ss w")


@pytest.mark.parametrize(
    "text",
    ["", "pencil", str(VERIFIER)[:-1], str(VERIFIER).replace("4096", "1"), str(VERIFIER).replace("256", "1")],
)
def test_what_is_no_verifier(text: str) -> None:
    with pytest.raises(ValueError) as told:
        parse_verifier(text)
    assert "pencil" not in str(told.value)
    with pytest.raises(ValueError, match="SMTP user 'x'"):
        SmtpUsers([SmtpUser(name="x", password=text)])


def test_users_that_are_not_there_have_a_verifier_each() -> None:
    users = SmtpUsers()
    assert users.verifier("a") == users.verifier("a") != users.verifier("b")
    assert isinstance(users.verifier("a"), Verifier)
    assert users.slowly("a", "x") is None


def test_the_wait_doubles_and_ends() -> None:
    guesses = Guesses(free=3, longest=60.0)
    for _ in range(2):
        guesses.failed("192.0.2.1", "u", 0.0)
    assert guesses.wait("192.0.2.1", "u", 0.0) == 0.0
    waits = []
    now = 0.0
    for _ in range(9):
        guesses.failed("192.0.2.1", "u", now)
        waits.append(guesses.wait("192.0.2.1", "u", now))
        now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert guesses.wait("192.0.2.1", "u", now) == 0.0
    assert guesses.wait("192.0.2.2", "", now) == 0.0
    guesses.failed("192.0.2.1", "", now + 1000.0)
    assert guesses.wait("192.0.2.1", "", now + 1000.0) == 0.0, "all was forgotten"


def test_many_networks_on_one_user_do_not_shut_out_where_he_is_known() -> None:
    guesses = Guesses(free=2)
    guesses.passed("203.0.113.1", "u")
    for number in range(20):
        guesses.failed(f"192.0.2.{number}", "u", 0.0)
    assert guesses.wait("198.51.100.1", "u", 0.0) > 0.0
    assert guesses.wait("203.0.113.1", "u", 0.0) == 0.0
    guesses.failed("2001:db8::1", "", 0.0)
    guesses.failed("2001:db8::2", "", 0.0)
    assert guesses.wait("2001:db8::3", "", 0.0) > 0.0


def test_memory_of_guesses_is_bounded() -> None:
    guesses = Guesses(capacity=100)
    for number in range(10_000):
        guesses.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", f"u{number}", 0.0)
        guesses.passed(f"10.1.{number >> 8 & 255}.{number & 255}", f"u{number}")
    assert len(guesses) <= 100


SECRET, DIGEST = new_key()


@pytest.mark.parametrize(
    ("bound", "user", "subaccount"),
    [
        (None, "SMTP_Injection", 0),
        (None, "smtp_injection:x-msys-subaccount=7", 7),
        (None, "SMTP_Injection:X-MSYS-SUBACCOUNT=0", 0),
        (None, "SMTP_Injection:X-MSYS-SUBACCOUNT=8", None),  # suspended
        (None, "SMTP_Injection:X-MSYS-SUBACCOUNT=-7", None),
        (None, "SMTP_Injection:X-MSYS-SUBACCOUNT=\u0667", None),
        (None, "SMTP_Injection:", 0),
        (7, "SMTP_Injection", 7),
        (7, "SMTP_Injection:X-MSYS-SUBACCOUNT=7", 7),
        (7, "SMTP_Injection:X-MSYS-SUBACCOUNT=0", None),
        (7, "SMTP_Injection:X-MSYS-SUBACCOUNT=9", None),
        (8, "SMTP_Injection", None),
    ],
)
def test_a_key_acts_for_its_subaccount_or_for_the_one_that_is_chosen(
    bound: int | None, user: str, subaccount: int | None
) -> None:
    stored = {bytes.fromhex(DIGEST): Entry(Key("a key", frozenset({"smtp/inject"}), bound), ())}
    users = SmtpUsers((), ApiKeys([], lambda digest: stored.get(digest)), lambda number: number != 8)
    account = users.quickly(user, SECRET, "192.0.2.1")
    assert (account.subaccount if account else None) == subaccount
