"""REQUIRETLS (RFC 8689): a message that asks for it goes to no host that is not the right one, or does not promise the
same; it fails instead."""

from __future__ import annotations

from typing import Any

import pytest

from postroad.message import REQUIRE_TLS, Message, Verdict
from tests.deliver.peers import DOMAIN, Names, Peer, peers, scene
from tests.deliver.supply import Shelf, message
from tests.deliver.tls.peers import EHLO, Certificates, TlsPeer, server_context

PROMISE = b"250-peer.example.net\r\n250-PIPELINING\r\n250 REQUIRETLS\r\n"


def demanding() -> Message:
    made = message()
    made.context = {REQUIRE_TLS: "yes"}
    return made


def host(issued: Certificates, *, right: bool = True, promises: bool = True) -> TlsPeer:
    # Another object than EHLO, so that the judge is asked inside TLS as well.
    before = EHLO.replace(b"peer", b"host")
    peer = TlsPeer(server_context(issued.right() if right else issued.other_name()), ehlo=before)
    if promises:
        peer.judge = lambda step, line, number: PROMISE if step == "ehlo" and number in peer.encrypted else None
    return peer


@pytest.mark.parametrize(
    ("right", "promises", "options", "said"),
    [
        (True, True, {"tls_verify": "host"}, ""),
        (True, False, {"tls_verify": "host"}, "offers no REQUIRETLS"),
        (False, True, {"tls_verify": "host"}, "is not shown to be the right one by TLS"),  # falls back to less
        (True, True, {"tls_verify": "none"}, "is not shown to be the right one by TLS"),
        (True, True, {"tls": "no"}, "is not shown to be the right one by TLS"),
    ],
)
async def test_only_the_right_host_that_promises_the_same_gets_it(
    issued: Certificates, right: bool, promises: bool, options: dict[str, Any], said: str
) -> None:
    peer = host(issued, right=right, promises=promises)
    settings = {"tls": "if-available", "tls_ca": issued.file, **options}
    async with peers(peer) as port, scene(port, shelf=Shelf([demanding()]), **settings) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
        if said:
            assert (outcome.verdict, str(outcome.reply)[:10]) == (Verdict.FAILED, "550 5.7.30")
            assert said in outcome.reply.text
            assert not peer.received
        else:
            assert outcome.verdict is Verdict.DELIVERED
            assert peer.received[0].mail.endswith(b" REQUIRETLS")


async def test_the_next_host_may_be_better(issued: Certificates) -> None:
    first, second = host(issued, promises=False), host(issued)
    both = Names()
    both.point(DOMAIN, "127.0.0.1", "127.0.0.2")
    both.at["mx1.example.net"], both.at["mx2.example.net"] = ["127.0.0.1", "127.0.0.2"], []
    settings: dict[str, Any] = {"tls_verify": "host", "tls_ca": issued.file}
    async with peers(first, second) as port, scene(port, shelf=Shelf([demanding()]), names=both, **settings) as at:
        await at.run(1)
        # Equal hosts stand in no fixed order; whichever came first, it is the second that takes it.
        assert at.shelf.outcome().verdict is Verdict.DELIVERED
    assert (len(first.received), len(second.received)) == (0, 1)


async def test_other_mail_is_none_the_worse(issued: Certificates) -> None:
    peer = Peer(ehlo=EHLO.replace(b"STARTTLS", b"REQUIRETLS"))
    async with peers(peer) as port, scene(port, shelf=Shelf([message()])) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is Verdict.DELIVERED
    assert b"REQUIRETLS" not in peer.received[0].mail
