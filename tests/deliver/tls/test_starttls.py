"""STARTTLS with real peers: what each mode and check does with each kind of host, on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from aiosmtpd.smtp import SMTP

from postroad.config.schema import BindingOptions
from postroad.message import Stage, Verdict
from tests.deliver.peers import DOMAIN, Names, Peer, peers, scene
from tests.deliver.supply import Shelf, message
from tests.deliver.tls.peers import HOST, Certificates, Madness, TlsPeer, server_context

D, W = Verdict.DELIVERED, Verdict.DEFERRED


class Case(NamedTuple):
    """A host that is like this, and what mail to it comes to. shown: how the delivery was encrypted, or what the
    deferral says. connections: how many it took."""

    name: str
    host: Callable[[Certificates], Peer]
    options: dict[str, Any]
    verdict: Verdict
    shown: str
    stage: Stage = Stage.CONFIRMATION
    connections: int = 1


def plain(issued: Certificates) -> Peer:
    return Peer()


def old(issued: Certificates) -> Peer:
    """Knows EHLO as little as STARTTLS."""
    return Peer(ehlo=b"502 5.5.1 no\r\n")


def refusing(issued: Certificates) -> Peer:
    return TlsPeer(None, star=b"454 4.7.0 not now\r\n")


def refusing_for_ever(issued: Certificates) -> Peer:
    return TlsPeer(None, star=b"554 5.7.3 never\r\n")


def right(issued: Certificates) -> Peer:
    return TlsPeer(server_context(issued.right()))


def other_name(issued: Certificates) -> Peer:
    return TlsPeer(server_context(issued.other_name()))


def unknown_issuer(issued: Certificates) -> Peer:
    return TlsPeer(server_context(issued.unknown_issuer()))


def expired(issued: Certificates) -> Peer:
    return TlsPeer(server_context(issued.expired()))


def mad(madness: Madness) -> Callable[[Certificates], Peer]:
    return lambda issued: TlsPeer(server_context(issued.right()), madness)


def only_tls13(issued: Certificates) -> Peer:
    return TlsPeer(server_context(issued.right(), lambda c: setattr(c, "minimum_version", ssl.TLSVersion.TLSv1_3)))


def only_tls12(issued: Certificates) -> Peer:
    return TlsPeer(server_context(issued.right(), lambda c: setattr(c, "maximum_version", ssl.TLSVersion.TLSv1_2)))


NO: dict[str, Any] = {"tls": "no"}
MAY: dict[str, Any] = {"tls": "if-available"}
MAY_HOST: dict[str, Any] = {"tls": "if-available", "tls_verify": "host"}
MUST: dict[str, Any] = {"tls": "required"}
MUST_CA: dict[str, Any] = {"tls": "required", "tls_verify": "ca"}
MUST_HOST: dict[str, Any] = {"tls": "required", "tls_verify": "host"}
QUICK: dict[str, Any] = {"ehlo_timeout": 1.0}  # it is for EHLO as well, which a busy machine answers late
STARTTLS, SHAKE = Stage.STARTTLS, Stage.TLS_HANDSHAKE

CASES = [
    Case("no", right, NO, D, ""),
    Case("may-plain", plain, MAY, D, ""),
    Case("may-old", old, MAY, D, ""),
    Case("may-refused", refusing, MAY, D, ""),
    Case("may-refused-for-ever", refusing_for_ever, MAY, D, ""),
    Case("may-right", right, MAY, D, "verified=no"),
    Case("may-expired", expired, MAY, D, "verified=no"),
    Case("may-1.2", only_tls12, MAY, D, "TLSv1.2 ECDHE-"),
    Case("may-1.3", only_tls13, MAY, D, "TLSv1.3 TLS_"),
    Case("may-too-old", only_tls12, {**MAY, "tls_min_version": "1.3"}, D, "", connections=2),
    Case("may-host-right", right, MAY_HOST, D, "verified=host"),
    Case("may-host-other-name", other_name, MAY_HOST, D, "verified=no", connections=2),
    Case("may-host-unknown", unknown_issuer, MAY_HOST, D, "verified=no", connections=2),
    Case("may-host-garbage", mad(Madness.GARBAGE), MAY_HOST, D, "", connections=2),
    *(
        Case(f"may-{each.name}", mad(each), MAY, D, "", connections=2)
        for each in (Madness.GARBAGE, Madness.HANG_UP, Madness.ALERT, Madness.HANG_UP_INSIDE)
    ),
    Case("may-silence", mad(Madness.SILENCE), {**MAY, **QUICK}, D, "", connections=2),
    Case("may-inject", mad(Madness.INJECT), MAY, W, "4.7.5", STARTTLS),
    Case("must-plain", plain, MUST, W, "4.7.4", STARTTLS),
    Case("must-old", old, MUST, W, "4.7.4", STARTTLS),
    Case("must-refused", refusing, MUST, W, "454 4.7.0 not now", STARTTLS),
    Case("must-refused-for-ever", refusing_for_ever, MUST, W, "554 5.7.3 never", STARTTLS),
    Case("must-right", right, MUST, D, "verified=no"),
    Case("must-expired", expired, MUST, D, "verified=no"),
    Case("must-too-old", only_tls12, {**MUST, "tls_min_version": "1.3"}, W, "4.7.5", SHAKE),
    Case("must-no-cipher", only_tls12, {**MUST, "tls_ciphers": "AES128-SHA256"}, W, "4.7.5", SHAKE),
    *(
        Case(f"must-{each.name}", mad(each), MUST, W, "4.7.5", SHAKE)
        for each in (Madness.GARBAGE, Madness.HANG_UP, Madness.ALERT)
    ),
    Case("must-silence", mad(Madness.SILENCE), {**MUST, **QUICK}, W, "4.4.2 no end of the TLS handshake", SHAKE),
    Case("must-inject", mad(Madness.INJECT), MUST, W, "4.7.5", STARTTLS),
    Case("must-hang-up-inside", mad(Madness.HANG_UP_INSIDE), MUST, W, "4.4.2", Stage.EHLO),
    Case("must-ca-right", right, MUST_CA, D, "verified=ca"),
    Case("must-ca-other-name", other_name, MUST_CA, D, "verified=ca"),
    Case("must-ca-unknown", unknown_issuer, MUST_CA, W, "4.7.5", SHAKE),
    Case("must-host-right", right, MUST_HOST, D, "verified=host"),
    Case("must-host-other-name", other_name, MUST_HOST, W, "4.7.5", SHAKE),
    Case("must-host-unknown", unknown_issuer, MUST_HOST, W, "4.7.5", SHAKE),
    Case("must-host-expired", expired, MUST_HOST, W, "expired", SHAKE),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_a_host_comes_to(case: Case, issued: Certificates) -> None:
    peer = case.host(issued)
    async with (
        peers(peer) as port,
        scene(port, shelf=Shelf([message()]), tls_ca=issued.file, **case.options) as at,
    ):
        await at.run(1)
        outcome = at.shelf.outcome()
    assert outcome.verdict is case.verdict, outcome
    assert outcome.stage is case.stage
    assert peer.connections == case.connections
    if case.verdict is D:
        assert case.shown in outcome.tls
        assert bool(outcome.tls) == bool(case.shown)
        assert len(peer.received) == 1
        last = peer.connections
        assert (isinstance(peer, TlsPeer) and last in peer.encrypted) == bool(case.shown)
        if case.shown:
            # What was said before counts for nothing: EHLO again, and DSN which it offers inside alone.
            assert [line[:4] for line in peer.commands[last][:3]] == [b"EHLO", b"STAR", b"EHLO"]
            assert isinstance(peer, TlsPeer) and peer.names[-1] == HOST
    else:
        assert case.shown in str(outcome.reply)
        assert not peer.received
        assert not any(line.startswith(b"MAIL") for lines in peer.commands.values() for line in lines)


async def test_nothing_the_host_said_in_the_clear_is_believed(issued: Certificates) -> None:
    peer = TlsPeer(server_context(issued.right()), ehlo=b"250-peer\r\n250-SIZE 1\r\n250-DSN\r\n250 STARTTLS\r\n")
    peer.judge = lambda step, line, number: b"250 peer\r\n" if step == "ehlo" and number in peer.encrypted else None
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), tls="required") as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is D
        assert not at.shelf.outcome().dsn
    assert b"SIZE" not in peer.received[0].mail


async def test_words_before_they_were_asked_for_end_the_session(issued: Certificates) -> None:
    peer = TlsPeer(server_context(issued.right()), Madness.CHATTER)
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), tls="required") as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is W
    assert not peer.received


async def test_a_failed_handshake_is_remembered(issued: Certificates) -> None:
    peer = TlsPeer(server_context(issued.right()), Madness.GARBAGE)
    shelf = Shelf([message(1)])
    async with peers(peer) as port, scene(port, shelf=shelf, max_deliveries_per_connection=1) as at:
        await at.run(1)
        shelf.put(message(2))
        await at.run(2)
        assert shelf.outcome(2).verdict is D
    assert peer.connections == 3
    assert [b"STARTTLS" in peer.commands[number] for number in (1, 2, 3)] == [True, False, False]


async def test_what_one_domain_asks_for_does_not_stop_another_on_the_same_host(issued: Certificates) -> None:
    """Two bindings, of which one demands what the host can't give."""
    peer = Peer()
    shelf = Shelf([message(1, binding="strict"), message(2)])
    bindings = [BindingOptions(name="strict", tls="required")]
    async with peers(peer) as port, scene(port, shelf=shelf, bindings=bindings) as at:
        at.wake(binding="strict")
        await shelf.until(1)
        await at.run(2)
        assert [shelf.outcome(1).verdict, shelf.outcome(2).verdict] == [W, D]
    assert len(peer.received) == 1


async def test_the_next_host_may_do_what_the_first_can_not(issued: Certificates) -> None:
    names = Names()
    names.point(DOMAIN, "127.0.0.1", "127.0.0.2")
    first, second = Peer(), TlsPeer(server_context(issued.right()))
    async with peers(first, second) as port, scene(port, shelf=Shelf([message()]), names=names, tls="required") as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is D
        assert at.shelf.outcome().host == "mx2.example.net"
    assert (len(first.received), len(second.received)) == (0, 1)


async def test_our_certificate_is_shown(issued: Certificates) -> None:
    def ask(context: ssl.SSLContext) -> None:
        issued.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

    ours = issued.authority.issue_cert("us.example")
    chain, key = issued.pem(ours, "ours")
    peer = TlsPeer(server_context(issued.right(), ask))
    shelf = Shelf([message()])
    async with peers(peer) as port, scene(port, shelf=shelf, tls_certificate=chain, tls_key=key, tls="required") as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is D
    (shown,) = peer.clients
    assert isinstance(shown, dict) and ("DNS", "us.example") in shown["subjectAltName"]


async def test_without_one_a_host_that_wants_it_gets_mail_in_the_clear(issued: Certificates) -> None:
    """With TLS 1.3 its refusal comes after the handshake."""

    def ask(context: ssl.SSLContext) -> None:
        issued.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

    peer = TlsPeer(server_context(issued.right(), ask))
    async with peers(peer) as port, scene(port, shelf=Shelf([message()])) as at:
        await at.run(1)
        assert (at.shelf.outcome().verdict, at.shelf.outcome().tls) == (D, "")
    assert peer.connections == 2


async def test_a_large_message_inside(issued: Certificates) -> None:
    content = b"".join(b"%0990d\r\n" % number for number in range(4000))
    peer = TlsPeer(server_context(issued.right()))
    async with peers(peer) as port, scene(port, shelf=Shelf([message(content=content)]), tls="required") as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is D
    assert peer.received[0].content == content


async def test_a_lost_certificate_file_defers(issued: Certificates) -> None:
    peer = TlsPeer(server_context(issued.right()))
    gone = str(issued.folder / "gone.pem")
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), tls_certificate=gone) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is W
        assert at.shelf.outcome().reply.text.startswith("4.3.5 ")
    assert not peer.connections


@pytest.mark.parametrize("step", ["ehlo", "star"])
async def test_the_session_ends_at_a_421(step: str, issued: Certificates) -> None:
    peer = TlsPeer(None, None, **{step: b"421 4.3.2 closing\r\n"})
    async with peers(peer) as port, scene(port, shelf=Shelf([message()])) as at:
        await at.run(1)
        assert (at.shelf.outcome().verdict, at.shelf.outcome().reply.code) == (W, 421)
    assert not peer.received


async def test_another_implementation_at_the_far_end(issued: Certificates) -> None:
    """aiosmtpd, which takes no mail in the clear."""
    kept: list[bytes] = []

    class Keep:
        async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
            kept.append(envelope.content)
            return "250 2.0.0 kept"

    loop = asyncio.get_running_loop()
    context = server_context(issued.right())

    def make() -> asyncio.BaseProtocol:
        made: asyncio.BaseProtocol = SMTP(Keep(), tls_context=context, require_starttls=True, loop=loop)
        return made

    server = await loop.create_server(make, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with scene(port, shelf=Shelf([message(1), message(2)]), tls_ca=issued.file, **MUST_HOST) as at:
            await at.run(2)
            assert [at.shelf.outcome(number).verdict for number in (1, 2)] == [D, D]
            assert "verified=host" in at.shelf.outcome(1).tls
        async with scene(port, shelf=Shelf([message(3)]), tls="no") as at:
            await at.run(1)
            assert (at.shelf.outcome(3).verdict, at.shelf.outcome(3).reply.code) == (Verdict.FAILED, 530)
    assert len(kept) == 2


async def test_a_host_that_knows_only_helo_inside_has_none_of_what_it_offered_before(issued: Certificates) -> None:
    peer = TlsPeer(server_context(issued.right()), ehlo=b"250-peer\r\n250-SIZE 1\r\n250-PIPELINING\r\n250 STARTTLS\r\n")
    peer.judge = lambda step, line, number: b"502 no\r\n" if step == "ehlo" and number in peer.encrypted else None
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), tls="required") as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is D
    assert b"SIZE" not in peer.received[0].mail
