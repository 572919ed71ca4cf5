"""A signature holds for what it signs and for nothing else: no change of a signed octet passes, and what the canonical
forms allow to change does."""

from __future__ import annotations

from random import Random

import pytest

from postroad.auth.dkim import Canon, Result, Signer, verify
from tests.auth.dkim.messages import KEYS, NASTY, NOW, RECORDS
from tests.auth.names import Table

CASES = {name: content for name, content in NASTY.items() if len(content) < 3000 and b"\r\n\r\n" in content}
_WHITE = b" \t\r\n"


def _changed(rng: Random, data: bytes, of: bytes) -> tuple[bytes, str]:
    """One octet that is no white space (the canonical forms forgive some of that) becomes another, goes, or comes
    twice. of: which octets may be hit."""
    places = [at for at, octet in enumerate(data) if octet not in _WHITE and octet in of]
    at = rng.choice(places)
    kind = rng.choice(("other", "gone", "twice"))
    if kind == "other":
        new = rng.choice([octet for octet in range(33, 256) if octet != data[at]])
        return data[:at] + bytes([new]) + data[at + 1 :], f"{kind} at {at}"
    return data[:at] + (b"" if kind == "gone" else data[at : at + 1] * 2) + data[at + 1 :], f"{kind} at {at}"


async def _results(content: bytes) -> list[Result]:
    return [found.result for found in await verify(content, Table(RECORDS), now=NOW)]


@pytest.mark.parametrize("rounds", [6, pytest.param(3000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", CASES)
async def test_no_signed_octet_can_change(kind: str, rounds: int) -> None:
    rng = Random(kind)
    content = CASES[kind]
    signers = [Signer(KEYS, header_canon=header, body_canon=body) for header in Canon for body in Canon]
    signed = [signer.sign(content, now=NOW) for signer in signers]
    head, _, body = content.partition(b"\r\n\r\n")
    # The values of fields that are signed: names may change their case, and white space may go in the relaxed form.
    lines = [line for line in head.split(b"\r\n") if line.lower().startswith((b"from:", b"to:", b"subject:", b"date:"))]
    for _ in range(rounds):
        fields = rng.choice(signed)
        assert await _results(fields + content) == [Result.PASS] * 2
        if body.strip(_WHITE) and rng.random() < 0.5:
            changed, what = _changed(rng, body, bytes(range(256)))
            bad = head + b"\r\n\r\n" + changed
        else:
            line = rng.choice([line for line in lines if line.partition(b":")[2].strip(_WHITE)])
            name, _, value = line.partition(b":")
            changed, what = _changed(rng, value, bytes(range(256)))
            bad = content.replace(line, name + b":" + changed, 1)
        assert await _results(fields + bad) == [Result.FAIL] * 2, (what, fields, bad)


@pytest.mark.parametrize("rounds", [60, pytest.param(20_000, marks=pytest.mark.soak)])
async def test_no_octet_of_the_signature_itself_can_change(rounds: int) -> None:
    """All of a signature's field is signed but the white space within b= and, in the relaxed form, its folds."""
    rng = Random(1)
    content = NASTY["plain"]
    for _ in range(rounds):
        key = rng.choice(KEYS)
        canon = rng.choice(list(Canon))
        field = Signer([key], header_canon=canon, body_canon=canon).sign(content, now=NOW)
        name, _, value = field.partition(b":")
        changed, what = _changed(rng, value, bytes(range(256)))
        (result,) = await _results(name + b":" + changed + content)
        assert result is not Result.PASS, (what, field)


@pytest.mark.parametrize("name", [b"From", b"Subject", b"Reply-To", b"To", b"Cc", b"Date", b"Content-Type"])
async def test_no_second_field_can_be_put_in(name: bytes) -> None:
    content = NASTY["plain"]
    fields = Signer(KEYS).sign(content, now=NOW)
    added = name + b": somebody@else.example\r\n"
    for bad in (
        added + fields + content,
        fields + added + content,
        fields + content.replace(b"\r\n\r\n", b"\r\n" + added + b"\r\n", 1),
    ):
        assert await _results(bad) == [Result.FAIL] * 2


@pytest.mark.parametrize("rounds", [40, pytest.param(5000, marks=pytest.mark.soak)])
async def test_the_relaxed_form_lets_white_space_change(rounds: int) -> None:
    rng = Random(2)
    content = NASTY["folded"]
    fields = Signer(KEYS).sign(content, now=NOW)
    head, _, body = content.partition(b"\r\n\r\n")
    for _ in range(rounds):
        changed = head.replace(b": ", rng.choice([b":", b" :  ", b":\t"]))
        changed = changed.replace(b"From", rng.choice([b"FROM", b"from"])).replace(
            b"\r\n\t", rng.choice([b" ", b"\r\n  "])
        )
        end = rng.choice([b"", b" \t\r\n", b"\r\n\r\n"])
        assert (
            await _results(fields + changed + b"\r\n\r\n" + body.replace(b"Hi", b"Hi" + rng.choice([b"", b" "])) + end)
            == [Result.PASS] * 2
        )
