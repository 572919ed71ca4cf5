"""npm's mailauth: it verifies our signatures and seals, and we verify its own."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroad.auth.arc import ChainResult, seal, verify_chain
from postroad.auth.dkim import Canon, PrivateKey, Result, Signer, verify
from tests.auth.dkim.messages import KEYS, NASTY, NOW, RECORDS, RSA
from tests.auth.names import Table
from tests.auth.test_arc import RESULTS

SCRIPT = Path(__file__).parent.parent / "node" / "mailauth.js"
# It takes a message without the empty line behind its header for one without any field.
MESSAGES = [kind for kind in NASTY if kind != "no blank line"]
CANONS = [(header, body) for header in Canon for body in Canon]


class Mailauth:
    def __init__(self) -> None:
        node, packages = shutil.which("node"), Path(sys.prefix, "node")
        assert node is not None and (packages / "node_modules").is_dir(), "make test installs node and its packages"
        self._process = subprocess.Popen(
            [node, str(SCRIPT), str(packages)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, do: str, message: bytes, **more: object) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        records = {name: texts[0].decode() for name, texts in RECORDS.items() if texts is not None}
        asked = {"do": do, "message": base64.b64encode(message).decode(), "records": records, "now": NOW, **more}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        told = json.loads(self._process.stdout.readline())
        assert "error" not in told, told["error"]
        return told

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def mailauth() -> Iterator[Mailauth]:
    found = Mailauth()
    yield found
    found.close()


def key_of(key: PrivateKey) -> dict[str, str]:
    return {
        "signingDomain": key.domain,
        "selector": key.selector,
        "privateKey": key.pem().decode(),
        "algorithm": key.algorithm.value,
    }


@pytest.mark.parametrize("canons", CANONS, ids=lambda pair: f"{pair[0].value}-{pair[1].value}")
@pytest.mark.parametrize("kind", MESSAGES)
def test_it_verifies_ours(mailauth: Mailauth, kind: str, canons: tuple[Canon, Canon]) -> None:
    content = NASTY[kind]
    signed = Signer(KEYS, header_canon=canons[0], body_canon=canons[1]).sign(content, now=NOW) + content
    found = mailauth.ask("verify", signed)["dkim"]
    assert sorted(found) == [["ed", "pass", ""], ["rsa", "pass", ""]]


@pytest.mark.parametrize("canons", CANONS, ids=lambda pair: f"{pair[0].value}-{pair[1].value}")
@pytest.mark.parametrize("kind", MESSAGES)
async def test_we_verify_its(mailauth: Mailauth, kind: str, canons: tuple[Canon, Canon]) -> None:
    content = NASTY[kind]
    canonicalization = f"{canons[0].value}/{canons[1].value}"
    made = mailauth.ask("sign", content, keys=[key_of(key) for key in KEYS], canonicalization=canonicalization)
    assert made["errors"] == []
    found = await verify(made["head"].encode() + content, Table(RECORDS), now=NOW)
    assert [(each.result, each.reason) for each in found] == [(Result.PASS, "")] * 2


@pytest.mark.parametrize("kind", MESSAGES)
async def test_chains_of_both(mailauth: Mailauth, kind: str) -> None:
    """We seal, it verifies and seals, we verify and seal, it verifies."""
    content = NASTY[kind]
    content = seal(content, RSA, RESULTS, await verify_chain(content, Table(RECORDS)), now=NOW) + content
    assert mailauth.ask("verify", content)["arc"][0] == "pass"
    results = "lists.example.org; arc=pass"
    content = mailauth.ask("seal", content, keys=[key_of(RSA)], results=results, cv="pass")["head"].encode() + content
    found = await verify_chain(content, Table(RECORDS))
    assert (found.result, found.reason, found.instances) == (ChainResult.PASS, "", 2)
    content = seal(content, RSA, RESULTS, found, now=NOW) + content
    assert mailauth.ask("verify", content)["arc"][0] == "pass"


def test_it_sees_what_was_changed(mailauth: Mailauth) -> None:
    content = NASTY["plain"]
    signed = Signer(KEYS).sign(content, now=NOW) + content
    found = mailauth.ask("verify", re.sub(b"Hello", b"Hullo", signed))["dkim"]
    assert [result for _, result, _ in found] == ["neutral", "neutral"]
