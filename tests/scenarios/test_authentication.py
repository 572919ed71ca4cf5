"""Mail from strangers to a real server with real DNS: checked, told, refused, sealed."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dkim
import pytest

from postroad.auth.arc import ChainResult, verify_chain
from postroad.auth.results import parse_results
from postroad.lab.dnsserver import LabDns, Zone
from postroad.policy import Content
from tests.auth.names import Table
from tests.policy.names import ARC_KEY, KEYS, mail, zone
from tests.scenarios.ends import audit
from tests.scenarios.far_end import FarEnd, LoopThread
from tests.scenarios.server import Server, free_port, serving, until
from tests.scenarios.test_reload import reload, rewrite

GOOD, STRANGER = "127.0.0.1", "127.0.0.66"
OPTIONS = """
[[listener]]
address = "127.0.0.1:{port}"
relay_domains = ["ours.test"]
authenticate = true
dmarc = "enforce"
arc_seal = true
{more}
[[dkim]]
domain = "ours.test"
selector = "arc"
key = "arc.pem"

[[rule]]
name = "own"
phase = "each_recipient"
when = "context.spf == 'softfail'"
action = "reject"
text = "5.7.23 SPF says so"

[dns]
servers = ["127.0.0.1:{dns}"]
timeout = "1s"
attempts = 1
"""


class Setting:
    def __init__(self, far: FarEnd, server: Server, port: int, served: Zone) -> None:
        self.far, self.server, self.port, self.zone = far, server, port, served

    def send(self, content: bytes, client: str = GOOD, sender: str = "a@good.test", to: str = "b@ours.test") -> None:
        """Raises what smtplib raises."""
        source = (client, 0)
        with smtplib.SMTP("127.0.0.1", self.port, "mx.good.test", timeout=60, source_address=source) as session:
            session.sendmail(sender, [to], content)

    def arrived(self, recipient: str = "b@ours.test") -> bytes:
        until(lambda: recipient in self.far.copies(), f"{recipient} has its mail")
        (found,) = [taken.content for taken in self.far.taken if taken.recipient == recipient]
        return found


@contextmanager
def name_server(served: Zone) -> Iterator[int]:
    with LoopThread() as loop:
        server = LabDns(served)
        port = loop.run(server.start())
        yield port
        loop.run(server.stop())


@contextmanager
def site(folder: Path, *, more: str = "", engines: int = 1) -> Iterator[Setting]:
    served = zone()
    served.set("good.test", "TXT", ['"v=spf1 ip4:127.0.0.1 -all"'])
    served.set("soft.test", "TXT", ['"v=spf1 ~all"'])
    (folder / "arc.pem").write_bytes(ARC_KEY.pem())
    port = free_port()
    with name_server(served) as dns, FarEnd(keep=True) as far:
        extra = OPTIONS.format(port=port, dns=dns, more=more)
        with serving(folder, gateway=far.port, extra=extra, engines=engines) as server:
            yield Setting(far, server, port, served)
            until(server.quiet, "everything has come to its end")
            audit(server)


def results(content: bytes) -> dict[str, str]:
    """Of the one field in our name; of two results of a method the first."""
    parsed = [parse_results(raw) for raw in Content(content).raw("Authentication-Results")]
    (ours,) = [each for each in parsed if each.authserv_id in ("postroad.test", "mx.ours.test")]
    return {method.method: method.result for method in reversed(ours.methods)}


def test_what_arrives_tells_what_was_found_and_is_sealed(tmp_path: Path) -> None:
    with site(tmp_path, more='authserv_id = "mx.ours.test"') as setting:
        forged = "Authentication-Results: mx.ours.test; dmarc=pass header.from=bank.test\r\n"
        setting.send(mail("a@good.test", "good.test", more=forged))
        content = setting.arrived()
    assert results(content) == {"spf": "pass", "dkim": "pass", "arc": "none", "dmarc": "pass"}
    assert b"bank.test" not in content
    assert b"spf=pass smtp.mailfrom=a@good.test" in content.replace(b"\r\n", b"")
    # As others see it: the author's signature and our seal are good.
    records = {key.name + ".": key.record().encode() for key in (KEYS["good.test"], ARC_KEY)}

    def txt(name: bytes, timeout: int = 5) -> bytes:
        return records[name.decode()]

    assert dkim.verify(content, dnsfunc=txt)
    result, _, reason = dkim.arc_verify(content, dnsfunc=txt)
    assert (result, reason) == (b"pass", "success")
    chain = asyncio.run(verify_chain(content, Table({ARC_KEY.name: [ARC_KEY.record().encode()]})))
    assert (chain.result, chain.domains) == (ChainResult.PASS, ("ours.test",))
    # Trace first, then seal, then results over all that came.
    names = [name.lower() for name in Content(content).names()]
    order = ["arc-seal", "received", "authentication-results", "dkim-signature", "from"]
    assert [name for name in names if name in order] == order


def test_enforcing_refuses_the_forged_and_a_reload_changes_no_listener(tmp_path: Path) -> None:
    with site(tmp_path, more='authserv_id = "mx.ours.test"', engines=2) as setting:
        until(lambda: setting.server.joined, "both engines are there")
        with pytest.raises(smtplib.SMTPDataError) as caught:
            setting.send(mail("a@good.test"), STRANGER)
        assert caught.value.smtp_code == 550 and b"good.test" in caught.value.smtp_error
        with pytest.raises(smtplib.SMTPDataError) as caught:
            setting.send(mail("a@none.test"), STRANGER, "a@soft.test")
        assert caught.value.smtp_error == b"5.7.23 SPF says so"
        rewrite(setting.server, 'dmarc = "enforce"', 'dmarc = "none"')
        reload(setting.server)
        with pytest.raises(smtplib.SMTPDataError):
            setting.send(mail("a@good.test"), STRANGER)
        # Changed on its way by a list that signs for itself only: quarantine is told, not enforced.
        setting.send(mail("a@strict.test", "list.test"), STRANGER, "l@list.test", "c@ours.test")
        assert results(setting.arrived("c@ours.test"))["dmarc"] == "fail"


def test_name_servers_that_are_dead_hold_nobody_up_for_good(tmp_path: Path) -> None:
    with site(tmp_path, more='authserv_id = "mx.ours.test"\nauthenticate_time = "2s"') as setting:
        for name in ("good.test", KEYS["good.test"].name, "_dmarc.good.test"):
            setting.zone.fault(name, "timeout")
        setting.send(mail("a@good.test", "good.test"), STRANGER)
        found = results(setting.arrived())
    assert found == {"spf": "temperror", "dkim": "temperror", "arc": "none", "dmarc": "temperror"}


def test_what_users_send_is_not_checked(tmp_path: Path) -> None:
    peers = f'authserv_id = "mx.ours.test"\npeers = [{{ network = "{STRANGER}/32", relay = true }}]'
    with site(tmp_path, more=peers) as setting:
        setting.send(mail("a@good.test"), STRANGER, to="x@far.test")
        assert b"Authentication-Results" not in setting.arrived("x@far.test")
