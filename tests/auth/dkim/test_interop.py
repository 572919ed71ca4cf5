"""Our signatures before dkimpy, and dkimpy's before us."""

from __future__ import annotations

import base64
import re

import dkim
import pytest

from postroad.auth.dkim import Canon, PrivateKey, Result, Signer, verify
from tests.auth.dkim.messages import KEYS, NASTY, NOW, RECORDS, RSA
from tests.auth.names import Table

CANONS = [(header, body) for header in Canon for body in Canon]


def dkimpy_txt(name: bytes, timeout: int = 5) -> bytes:
    records = RECORDS.get(name.decode().rstrip("."))
    assert records is not None
    return records[0]


@pytest.mark.parametrize("canons", CANONS, ids=lambda pair: f"{pair[0].value}-{pair[1].value}")
@pytest.mark.parametrize("kind", NASTY)
def test_dkimpy_verifies_ours(kind: str, canons: tuple[Canon, Canon]) -> None:
    content = NASTY[kind]
    fields = Signer(KEYS, header_canon=canons[0], body_canon=canons[1]).sign(content, now=NOW)
    assert fields.count(b"DKIM-Signature:") == 2
    for index in range(2):
        assert dkim.DKIM(fields + content).verify(idx=index, dnsfunc=dkimpy_txt)


@pytest.mark.parametrize("canons", CANONS, ids=lambda pair: f"{pair[0].value}-{pair[1].value}")
@pytest.mark.parametrize("key", KEYS, ids=["rsa", "ed25519"])
@pytest.mark.parametrize("kind", NASTY)
async def test_we_verify_dkimpys(kind: str, key: PrivateKey, canons: tuple[Canon, Canon]) -> None:
    content = NASTY[kind]
    # dkimpy wants RSA keys as PEM and Ed25519 keys as the base64 of the seed.
    private = key.pem() if key is RSA else _seed(key)
    field = dkim.sign(
        content,
        key.selector.encode(),
        key.domain.encode(),
        private,
        canonicalize=(canons[0].value.encode(), canons[1].value.encode()),
        signature_algorithm=key.algorithm.value.encode(),
    )
    (found,) = await verify(field + content, Table(RECORDS), now=4e9)
    assert (found.result, found.reason) == (Result.PASS, "")


def _seed(key: PrivateKey) -> bytes:
    body = re.sub(rb"-----[^-]+-----|\s", b"", key.pem())
    return base64.b64encode(base64.b64decode(body)[-32:])
