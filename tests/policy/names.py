"""Domains that send mail, on a real name server: what the checks of inbound mail ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from postroad.auth.dkim import Algorithm, PrivateKey, Signer
from postroad.config.schema import DnsOptions, Duration
from postroad.lab.dnsserver import LabDns, Zone
from postroad.net import DnsResolver

ED, RSA = Algorithm.ED25519, Algorithm.RSA
KEYS = {name: PrivateKey.generate(name, "k1", ED) for name in ("good.test", "list.test", "strict.test", "slow.test")}
ARC_KEY = PrivateKey.generate("ours.test", "arc", RSA)
CLIENT = "192.0.2.10"  # may send for good.test and strict.test
STRANGER = "192.0.2.66"


def zone() -> Zone:
    made = Zone.from_dict(
        {
            "good.test": {"TXT": [f'"v=spf1 ip4:{CLIENT} -all"']},
            "_dmarc.good.test": {"TXT": ['"v=DMARC1; p=reject"']},
            "strict.test": {"TXT": [f'"v=spf1 ip4:{CLIENT} -all"']},
            "_dmarc.strict.test": {"TXT": ['"v=DMARC1; p=quarantine; adkim=s; aspf=s"']},
            "list.test": {"TXT": [f'"v=spf1 ip4:{STRANGER} -all"']},
            "mx.list.test": {"TXT": [f'"v=spf1 ip4:{STRANGER} -all"']},
            "none.test": {"A": ["192.0.2.1"]},
        }
    )
    for key in (*KEYS.values(), ARC_KEY):
        record = key.record()
        pieces = " ".join(f'"{record[at : at + 250]}"' for at in range(0, len(record), 250))
        made.set(key.name, "TXT", [pieces])
    made.fault(KEYS["slow.test"].name, "timeout")
    return made


@asynccontextmanager
async def resolving(served: Zone) -> AsyncIterator[DnsResolver]:
    server = LabDns(served)
    port = await server.start()
    options = DnsOptions(servers=[f"127.0.0.1:{port}"], attempts=1, timeout=Duration(0.5))
    resolver = DnsResolver(options, rng=Random(1))
    try:
        yield resolver
    finally:
        await resolver.close()
        await server.stop()


def mail(author: str, *signers: str, more: str = "", body: str = "Hello.\r\n", now: float = 1.7e9) -> bytes:
    """From author, signed by these domains; what is in `more` stands in front, unsigned."""
    text = f"From: {author}\r\nTo: b@ours.test\r\nSubject: s\r\nDate: Tue, 24 Nov 2026 14:00:00 +0000\r\n\r\n{body}"
    content = text.encode()
    signed = b"".join(Signer([KEYS[name]]).sign(content, now=now) for name in signers)
    return more.encode() + signed + content
