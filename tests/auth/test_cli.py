"""`postroad dkim`, against a name server on the loopback."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from pathlib import Path

from postroad.auth.dkim import Signer, unseal
from tests.auth.dkim.messages import HEAD, NOW
from tests.net.nameserver import NameServer, serving


async def postroad(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "postroad", "dkim", *words]
    return await asyncio.to_thread(
        subprocess.run, command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


async def test_a_key_is_made_published_and_used(tmp_path: Path) -> None:
    made = await postroad(tmp_path, "keygen", "example.com", "s1", "--json")
    assert made.returncode == 0, made.stderr
    about = json.loads(made.stdout)
    for name in ("dkim.secret", "s1.example.com.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    shown = await postroad(tmp_path, "dns", "example.com", "s1")
    assert shown.stdout.startswith("s1._domainkey.example.com. IN TXT ( ")

    secret = bytes.fromhex((tmp_path / "dkim.secret").read_text())
    key = unseal((tmp_path / "s1.example.com.key").read_text(), "example.com", "s1", secret)
    assert key.record() == about["record"]
    content = HEAD + b"\r\nHello.\r\n"
    (tmp_path / "good.eml").write_bytes(Signer([key]).sign(content, now=NOW - 400 * 86400) + content)
    (tmp_path / "bad.eml").write_bytes(Signer([key]).sign(content, now=NOW - 400 * 86400) + content + b"More.\r\n")

    line = shown.stdout.replace(" IN TXT ( ", " 300 IN TXT ").replace(" )", "")
    async with serving(NameServer(line)) as servers:
        checked = await postroad(tmp_path, "check", "example.com", "s1", "--server", servers[0])
        assert (checked.returncode, checked.stdout) == (0, "s1._domainkey.example.com: good\n")
        good = await postroad(tmp_path, "verify", "good.eml", "--server", servers[0])
        assert (good.returncode, good.stdout) == (0, "pass s1._domainkey.example.com rsa-sha256\n")
        bad = await postroad(tmp_path, "verify", "bad.eml", "--server", servers[0])
        assert bad.returncode == 1
        assert bad.stdout == "fail s1._domainkey.example.com rsa-sha256 body hash did not verify\n"
    async with serving(NameServer("other.example. 300 IN TXT x")) as servers:
        checked = await postroad(tmp_path, "check", "example.com", "s1", "--server", servers[0])
        assert (checked.returncode, checked.stdout) == (1, "s1._domainkey.example.com: there is no such record\n")


async def test_mistakes_are_explained(tmp_path: Path) -> None:
    again = [await postroad(tmp_path, "keygen", "example.com", "e", "--algorithm", "ed25519") for _ in range(2)]
    assert [each.returncode for each in again] == [0, 1]
    assert "exists; nothing was written" in again[1].stderr
    (tmp_path / "dkim.secret").write_text("00" * 32)
    shut = await postroad(tmp_path, "dns", "example.com", "e")
    assert shut.returncode == 1
    assert "sealed with another secret" in shut.stderr
    assert (await postroad(tmp_path, "keygen", "a..b", "e")).returncode == 2
    assert (await postroad(tmp_path, "keygen", "example.com", "e", "--algorithm", "dsa")).returncode == 2
