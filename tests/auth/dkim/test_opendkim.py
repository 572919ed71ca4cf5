"""OpenDKIM verifies our RSA signatures, and as a milter makes some that we verify. (Debian's build knows no Ed25519,
and its test tool signs with SHA-1.)"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroad.auth.dkim import Canon, Result, Signer, verify
from tests.auth.dkim.messages import NASTY, NOW, RECORDS, RSA
from tests.auth.dkim.milter import Milter
from tests.auth.names import Table
from tests.scenarios.server import until

# What its test mode can't read: a NUL, a header without the empty line, a last line without its end; and white space
# behind a colon is lost to it, which the simple form minds.
UNREADABLE = ("NUL", "no blank line", "no line end at the end")
CASES = [
    (kind, canon)
    for kind in NASTY
    for canon in Canon
    if kind not in UNREADABLE and (kind, canon) != ("odd white space", Canon.SIMPLE)
]


def program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    assert found is not None, f"{name} is missing: make tools"
    return found


@pytest.mark.parametrize(("kind", "canon"), CASES)
def test_opendkim_verifies_ours(kind: str, canon: Canon, tmp_path: Path) -> None:
    keys, config, message = tmp_path / "keys", tmp_path / "conf", tmp_path / "message"
    keys.write_text(f"{RSA.name} {RSA.record()}\n")
    config.write_text(f"TestPublicKeys {keys}\nMode v\nSyslog no\n")
    content = NASTY[kind]
    message.write_bytes(Signer([RSA], header_canon=canon, body_canon=canon).sign(content, now=NOW) + content)
    done = subprocess.run(
        [program("opendkim"), "-x", str(config), "-t", str(message)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "verification (s=rsa, d=example.com, 2048-bit key) succeeded" in done.stdout + done.stderr


@pytest.fixture
def signer(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The socket of a milter that signs. param: the canonical form."""
    key, config, path = tmp_path / "key.pem", tmp_path / "conf", tmp_path / "milter"
    key.write_bytes(RSA.pem())
    key.chmod(0o600)
    config.write_text(
        f"Mode s\nDomain example.com\nSelector rsa\nKeyFile {key}\nCanonicalization {request.param}\nSyslog no\n"
        "InternalHosts 127.0.0.1\nSignatureAlgorithm rsa-sha256\nRequireSafeKeys no\n"
    )
    command = [program("opendkim"), "-f", "-l", "-x", str(config), "-p", f"local:{path}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: path.exists() or process.poll() is not None, "the milter listens")
        assert process.poll() is None, process.communicate()[0]
        yield path
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.parametrize("signer", ["simple/simple", "relaxed/relaxed"], indirect=True)
async def test_we_verify_its(signer: Path) -> None:
    for kind, content in NASTY.items():
        if kind in UNREADABLE or len(content) > 100_000:
            continue
        with Milter(signer) as milter:
            head = await asyncio.to_thread(milter.fields, content)
        (found,) = await verify(head + content, Table(RECORDS), now=4e9)
        assert (found.result, found.reason) == (Result.PASS, ""), kind


async def test_its_sha1_is_refused(tmp_path: Path) -> None:
    """opendkim-testmsg still signs with rsa-sha1, which RFC 8301 3.1 forbids to accept."""
    key = tmp_path / "key.pem"
    key.write_bytes(RSA.pem())
    key.chmod(0o600)
    done = await asyncio.to_thread(
        subprocess.run,
        [program("opendkim-testmsg"), "-C", "-d", "example.com", "-s", "rsa", "-k", str(key)],
        input=NASTY["plain"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    (found,) = await verify(done.stdout, Table(RECORDS), now=4e9)
    assert (found.result, found.algorithm) == (Result.POLICY, "rsa-sha1")
