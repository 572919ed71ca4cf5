"""Notifications that we write ourselves are signed with the key of our own name, and no policy sees them."""

from __future__ import annotations

import asyncio
import smtplib
from pathlib import Path

import dkim
import pytest

from postroad.auth.dkim import Algorithm, PrivateKey, Result, verify
from postroad.lab.rules import Rule
from tests.auth.names import Table
from tests.scenarios.ends import audit
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import serving, until

PLUGIN = """
class Policy:
    def __init__(self, kit):
        pass

    def each_recipient(self, facts):
        facts.content.add("X-Seen", "by policy")
"""
EXTRA = """
[[policy]]
file = "mine.py"
"""


@pytest.mark.parametrize("engines", [1, 2])
def test_of_failure(tmp_path: Path, engines: int) -> None:
    keys = [PrivateKey.generate("postroad.test", kind.name.lower(), kind) for kind in Algorithm]
    extra = EXTRA
    for key in keys:
        (tmp_path / f"{key.selector}.pem").write_bytes(key.pem())
        extra += f'[[dkim]]\ndomain = "{key.domain}"\nselector = "{key.selector}"\nkey = "{key.selector}.pem"\n'
    (tmp_path / "mine.py").write_text(PLUGIN)
    records = {key.name: key.record().encode() for key in keys}
    rule = Rule(name="none", recipient="none*@*", reply="550 5.1.1 Nobody here")
    with FarEnd([rule]) as far, serving(tmp_path, gateway=far.port, extra=extra, engines=engines) as server:
        with smtplib.SMTP("127.0.0.1", server.smtp_port, "client.test", timeout=30) as client:
            for number in range(4):
                letter = "From: a@s.test\r\n\r\nbody\r\n"
                client.sendmail(f"s@s{number}.test", [f"none{number}@d{number}.test"], letter)
        until(lambda: len(far.copies()) == 4, "all senders are told")
        assert set(far.copies()) == {f"s@s{number}.test" for number in range(4)}
        for taken in far.taken:
            content = taken.content
            head, _, rest = content.partition(b"\r\n\r\n")
            assert b"\r\nSubject: Undelivered mail" in head
            assert b"X-Seen" not in head and b"X-Seen: by policy" in rest  # of the message that it returns
            found = asyncio.run(verify(content, Table({name: [text] for name, text in records.items()}), now=1.9e9))
            assert [(one.result, one.reason) for one in found] == [(Result.PASS, "")] * len(keys)
            assert dkim.verify(content, dnsfunc=lambda name, timeout=5: records[name.decode().rstrip(".")])
        until(server.quiet, "all is over")
        audit(server)
