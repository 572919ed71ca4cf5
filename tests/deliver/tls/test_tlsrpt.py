"""TLS reports: what sessions count for, and the mail that comes of it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message as Mail
from pathlib import Path
from random import Random
from typing import Any

import pytest

from postroad.config.schema import TlsReportOptions
from postroad.deliver import TlsReporter
from postroad.deliver.tlsrpt import DAY, Day, TlsCounts, mail_addresses
from postroad.message import Accepted, Refused, Rejection, Reply, Transaction
from postroad.net import DnsFailure
from tests.deliver.peers import DOMAIN, Names
from tests.deliver.tls.peers import HOST, Certificates
from tests.deliver.tls.policyhost import answer, policy
from tests.deliver.tls.test_policies import (
    ENFORCE,
    EXPIRED,
    OTHER_HOSTS,
    OTHER_NAME,
    TESTING,
    UNKNOWN,
    Case,
    D,
    Domain,
    W,
    Wall,
    both,
    dane,
    own,
    plain,
    stranger,
    sts,
    tlsa_fault,
)
from tests.net.nameserver import fails

BOTH = ["a@b.example", "c@d.example"]
MIDNIGHT = 1_699_920_000


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([b"v=TLSRPTv1; rua=mailto:reports@example.com"], ["reports@example.com"]),
        ([b"v=TLSRPTv1;rua=https://a.example/x , mailto:a@b.example?subject=x,mailto:c@d.example;"], BOTH),
        ([b"v=spf1 -all", b"v=TLSRPTv1; x=y; rua = MAILTO:a@b.example"], ["a@b.example"]),
        ([b"v=TLSRPTv1; rua=https://a.example/x"], []),
        ([b"v=TLSRPTv1; rua=mailto:a@b.example", b"v=TLSRPTv1; rua=mailto:c@d.example"], []),
        ([b"v=TLSRPTv2; rua=mailto:a@b.example"], []),
        ([b"rua=mailto:a@b.example; v=TLSRPTv1"], []),
        ([], []),
    ],
)  # fmt: skip
def test_who_wants_them(records: list[bytes], found: list[str]) -> None:
    assert mail_addresses(records) == found


def nothing(domain: Domain) -> None:
    pass


# (case, policy type, good sessions, bad sessions, result types)
SESSIONS: list[tuple[Case, str, int, int, list[str]]] = [
    (Case("no-policy", nothing, D, ""), "no-policy-found", 1, 0, []),
    (Case("no-policy-plain", plain, D, ""), "no-policy-found", 0, 1, ["starttls-not-supported"]),
    (Case("dane", dane(3, own), D, ""), "tlsa", 1, 0, []),
    (Case("dane-wrong", dane(3, stranger), W, ""), "tlsa", 0, 1, ["certificate-not-trusted"]),
    (Case("dane-plain", both(dane(3, own), plain), W, ""), "tlsa", 0, 1, ["starttls-not-supported"]),
    (Case("dane-bogus", tlsa_fault(fails("SERVFAIL")), W, ""), "tlsa", 0, 1, ["dnssec-invalid"]),
    (Case("sts", ENFORCE, D, ""), "sts", 1, 0, []),
    (Case("sts-name", ENFORCE, W, "", OTHER_NAME), "sts", 0, 1, ["certificate-host-mismatch"]),
    (Case("sts-expired", ENFORCE, W, "", EXPIRED), "sts", 0, 1, ["certificate-expired"]),
    (Case("sts-unknown", ENFORCE, W, "", UNKNOWN), "sts", 0, 1, ["certificate-not-trusted"]),
    (Case("sts-other", sts(answer(OTHER_HOSTS)), W, ""), "sts", 0, 1, ["validation-failure"]),
    (Case("testing-unknown", TESTING, D, "", UNKNOWN), "sts", 0, 1, ["certificate-not-trusted"]),
    (Case("testing-plain", both(TESTING, plain), D, ""), "sts", 0, 1, ["starttls-not-supported"]),
    (Case("sts-404", sts(answer(policy(), status="404 No")), D, ""), "sts", 0, 1, ["sts-policy-fetch-error"]),
    (Case("sts-broken", sts(answer(b"hello")), D, ""), "sts", 0, 1, ["sts-policy-invalid"]),
]


@pytest.mark.parametrize("given", SESSIONS, ids=lambda given: given[0].name)
async def test_what_a_session_counts_for(given: tuple[Case, str, int, int, list[str]], issued: Certificates) -> None:
    case, kind, good, bad, results = given
    domain = Domain(issued, case.leaf(issued))
    case.tune(domain)
    counts = TlsCounts(Day(MIDNIGHT))
    async with domain.at(1, tls_counts=counts) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is case.verdict
    (count,) = (each for each in counts.day.domains[DOMAIN] if each.kind == kind)
    assert (count.good, count.bad) == (good, bad)
    assert [failure.result for failure in count.failures] == results


def test_counts_are_bounded() -> None:
    from postroad.deliver.tls import LOST, Policy, Rung
    from postroad.deliver.tlsrpt import Place

    counts = TlsCounts(Day(MIDNIGHT))
    for number in range(1000):
        counts.bad(DOMAIN, Policy((Rung.ENCRYPTED,)), None, Place("", f"mx{number}.example.net", ""), LOST)
    (count,) = counts.day.domains[DOMAIN]
    assert count.bad == 1000
    assert len(count.failures) < 1000


class Post(Names):
    """A resolver that has TXT records, and an Acceptor that keeps what it is given."""

    def __init__(self, texts: dict[str, list[bytes]]) -> None:
        super().__init__()
        self.texts = texts
        self.sent: list[Transaction] = []
        self.came = asyncio.Event()
        self.full: Reply | None = None

    async def txt(self, name: str) -> list[bytes]:
        if name not in self.texts:
            raise DnsFailure("no answer")
        return self.texts[name]

    async def authentic_hosts(self, domain: str) -> frozenset[str]:
        return frozenset()

    async def authentic_names(self, host: str) -> list[str]:
        return []

    async def tlsa(self, host: str, port: int) -> list[Any]:
        return []

    def refusal(self) -> Reply | None:
        return self.full

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        self.sent.append(transaction)
        self.came.set()
        done(Accepted([1]))

    def rejected(self, rejection: Rejection) -> None:
        raise AssertionError(rejection)


def reporter(post: Post, wall: Wall, folder: Path) -> TlsReporter:
    options = TlsReportOptions(send=True, organization="Us", contact="tls@us.example")
    return TlsReporter(
        options,
        hostname="us.example",
        path=folder / "reports.json",
        resolver=post,
        acceptor=post,
        clock=wall,
        rng=Random(1),
        spread=0.0,
    )


def part(mail: Mail, kind: str) -> Any:
    (found,) = (each for each in mail.walk() if each.get_content_type() == kind)
    return found.get_payload(decode=True)


async def test_the_mail(issued: Certificates, tmp_path: Path) -> None:
    """Counted, kept over a restart, and sent when the day is over."""
    wall = Wall()
    wall.now = MIDNIGHT + DAY - 100
    wanted = {f"_smtp._tls.{DOMAIN}": [b"v=TLSRPTv1; rua=mailto:reports@example.com,mailto:bad address"]}
    post = Post({**wanted, "_smtp._tls.quiet.example": []})
    first = reporter(post, wall, tmp_path)
    await first.start()
    domain = Domain(issued, issued.expired())
    ENFORCE(domain)
    async with domain.at(1, tls_counts=first.counts) as at:
        await at.run(1)
    first.counts.day.domains["quiet.example"] = []
    first.counts.day.domains["unknown.example"] = []
    await first.stop()
    assert not post.sent

    wall.now += 200
    second = reporter(post, wall, tmp_path)
    await second.start()
    await post.came.wait()
    await second.stop()
    (transaction,) = post.sent
    assert (transaction.sender, [each.address for each in transaction.recipients]) == (
        "tls@us.example",
        ["reports@example.com"],
    )
    mail = message_from_bytes(transaction.body.content)
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "tlsrpt"
    assert (mail["TLS-Report-Domain"], mail["TLS-Report-Submitter"]) == (DOMAIN, "us.example")
    assert not mail.defects
    report = json.loads(gzip.decompress(part(mail, "application/tlsrpt+gzip")))
    assert report == {
        "organization-name": "Us",
        "date-range": {"start-datetime": "2023-11-14T00:00:00Z", "end-datetime": "2023-11-14T23:59:59Z"},
        "contact-info": "tls@us.example",
        "report-id": f"2023-11-14.{DOMAIN}@us.example",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: enforce", "mx: *.example.net", "max_age: 604800"],
                    "policy-domain": DOMAIN,
                    "mx-host": ["*.example.net"],
                },
                "summary": {"total-successful-session-count": 0, "total-failure-session-count": 1},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "127.0.0.1",
                        "receiving-mx-hostname": HOST,
                        "receiving-ip": "127.0.0.1",
                        "failure-reason-code": "the host's certificate is not accepted: certificate has expired",
                        "failed-session-count": 1,
                    }
                ],
            }
        ],
    }
    # What is sent is not sent again.
    third = reporter(post, wall, tmp_path)
    assert await third.send(Day(MIDNIGHT)) == 0
    await third.start()
    await third.stop()
    assert len(post.sent) == 1


async def test_a_full_queue_gets_no_reports(tmp_path: Path) -> None:
    post = Post({f"_smtp._tls.{DOMAIN}": [b"v=TLSRPTv1; rua=mailto:reports@example.com"]})
    post.full = Reply(452, "4.3.1 full")
    made = reporter(post, Wall(), tmp_path)
    assert await made.send(Day(MIDNIGHT, {DOMAIN: []})) == 0
    post.full = None
    assert await made.send(Day(MIDNIGHT, {DOMAIN: []})) == 1
