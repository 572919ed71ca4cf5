"""Checks of inbound mail: names from a real name server, messages through all of policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.auth.arc import ChainResult, verify_chain
from postroad.auth.dkim import Result as DkimResult
from postroad.auth.dkim import verify
from postroad.auth.results import parse_results
from postroad.config.schema import Config, DkimOptions, ListenerOptions, RuleOptions, ServerOptions
from postroad.lab.dnsserver import Zone
from postroad.message import Accepted, Body, Recipient, Transaction
from postroad.net import DnsResolver, SystemClock
from postroad.policy import KeyRing, Sealing, kit, load_keys
from postroad.policy.checks import FOUND, authentication_hooks
from postroad.policy.checks.examine import authors
from tests.policy.doors import Kept
from tests.policy.names import ARC_KEY, CLIENT, KEYS, STRANGER, mail, resolving, zone

MX = "127.0.0.1:25"


class Site:
    """A listener that checks, with DNS of its own."""

    def __init__(self, served: Zone, resolver: DnsResolver, folder: Path) -> None:
        self.zone = served
        self.resolver = resolver
        self.folder = folder

    def policy(self, rules: list[RuleOptions] | None = None, **options: Any) -> kit.Policy:
        listener = ListenerOptions(address=MX, relay_domains=["ours.test"], authenticate=True, **options)
        server = ServerOptions(hostname="mx.ours.test")
        config = Config(server=server, listener=[listener], rule=rules or [])
        return kit.of_config(config, self.folder, resolver=self.resolver)

    async def take(self, content: bytes, **about: Any) -> kit.Result:
        """Options of the listener may stand among those of the session."""
        names = ("dmarc", "authserv_id", "authenticate_checks", "authenticate_time", "arc_seal")
        options = {name: about.pop(name) for name in names if name in about}
        rules = about.pop("rules", None)
        told = {"sender": "a@good.test", "peer": CLIENT, "helo": "mx.good.test", "recipients": ["b@ours.test"]}
        async with self.policy(rules, **options) as policy:
            return await policy.message(content, listener=MX, **(told | about))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    served = zone()
    async with resolving(served) as resolver:
        yield Site(served, resolver, tmp_path)


def told(result: kit.Result) -> dict[str, str]:
    """The results of our field, by method; it is the first, and the only one of our name."""
    (copy,) = result.copies
    assert not result.errors
    raw = [parse_results(each) for each in copy.content.raw("Authentication-Results")]
    assert [each.authserv_id for each in raw].count("mx.ours.test") == 1
    assert raw[0].authserv_id == "mx.ours.test"
    assert copy.content.names()[0] == "Authentication-Results"
    assert copy.content.octets.isascii()
    found: dict[str, str] = {}
    for method in raw[0].methods:
        found.setdefault(method.method, method.result)
    return found


def context(result: kit.Result) -> dict[str, str]:
    (copy,) = result.copies
    return {name: copy.context[name] for name in ("spf", "dkim", "arc", "dmarc", "dmarc_disposition")}


async def test_a_message_that_is_what_it_says(site: Site) -> None:
    result = await site.take(mail("a@good.test", "good.test"), dmarc="enforce")
    assert told(result) == {"spf": "pass", "dkim": "pass", "arc": "none", "dmarc": "pass"}
    assert context(result) == {
        "spf": "pass",
        "dkim": "pass",
        "arc": "none",
        "dmarc": "pass",
        "dmarc_disposition": "none",
    }
    assert result.copies[0].context["dkim_domains"] == "good.test"
    octets = result.copies[0].content.octets
    assert b"spf=pass smtp.mailfrom=a@good.test" in octets
    assert b"dmarc=pass header.from=good.test polrec.p=reject" in octets.replace(b"\r\n", b"")
    # What we put in front does not break what the author signed.
    assert [one.result for one in await verify(octets, site.resolver, now=1.7e9)] == [DkimResult.PASS]


@pytest.mark.parametrize(
    ("content", "about", "found"),
    [
        (mail("a@good.test"), {"peer": STRANGER}, {"spf": "fail", "dkim": "none", "dmarc": "fail"}),
        (mail("a@good.test", "good.test"), {"peer": STRANGER}, {"spf": "fail", "dkim": "pass", "dmarc": "pass"}),
        # SPF and DKIM of others pass, and say nothing about the author.
        (
            mail("a@good.test", "list.test"),
            {"peer": STRANGER, "sender": "l@list.test", "helo": "mx.list.test"},
            {"spf": "pass", "dkim": "pass", "dmarc": "fail"},
        ),
        (
            mail("a@sub.strict.test", "strict.test"),
            {"sender": "x@none.test", "peer": STRANGER},
            {"spf": "none", "dkim": "pass", "dmarc": "fail"},
        ),
        (mail("a@none.test"), {"sender": "a@none.test"}, {"spf": "none", "dkim": "none", "dmarc": "none"}),
        # Of the null sender the EHLO name counts.
        (
            mail("a@list.test"),
            {"sender": "", "helo": "list.test", "peer": STRANGER},
            {"spf": "pass", "dkim": "none", "dmarc": "none"},
        ),
        (mail("nobody"), {}, {"spf": "pass", "dkim": "none", "dmarc": "permerror"}),
        (
            mail("a@good.test", "good.test").replace(b"Hello", b"Hullo"),
            {"peer": STRANGER},
            {"spf": "fail", "dkim": "fail", "dmarc": "fail"},
        ),
    ],
)
async def test_what_is_found(site: Site, content: bytes, about: dict[str, Any], found: dict[str, str]) -> None:
    result = await site.take(content, **about)
    assert told(result) == found | {"arc": "none"}
    assert context(result).items() >= found.items()


async def test_enforcing_refuses_what_the_domain_refuses_and_tags_the_rest(site: Site) -> None:
    forged = mail("a@good.test")
    refused = await site.take(forged, peer=STRANGER, dmarc="enforce")
    assert str(refused.refused) == "550 5.7.1 not from good.test: its DMARC policy is to refuse such mail"
    tagged = await site.take(forged, peer=STRANGER, dmarc="tag")
    assert context(tagged)["dmarc_disposition"] == "reject"
    quarantined = await site.take(mail("a@strict.test"), peer=STRANGER, dmarc="enforce")
    assert context(quarantined)["dmarc_disposition"] == "quarantine"
    left = await site.take(forged, peer=STRANGER, dmarc="none")
    assert "dmarc" not in told(left) and context(left)["dmarc"] == "none"


@pytest.mark.parametrize(
    "author",
    [
        "a@none.test\r\nFrom: a@good.test",
        "a@none.test, b@good.test",
        'a@none.test, "b@good.test',
        ", ".join(f"a@n{number}.test" for number in range(9)),
    ],
)
async def test_a_second_author_does_not_hide_the_first(site: Site, author: str) -> None:
    refused = await site.take(mail(author), peer=STRANGER, dmarc="enforce")
    assert str(refused.refused).startswith("550 5.7.1 ")


async def test_forged_results_in_our_name_go_and_others_stay(site: Site) -> None:
    others = "Authentication-Results: mx.other.test;\r\n spf=pass smtp.mailfrom=x@y.test\r\n"
    forged = (
        "Authentication-Results: mx.ours.test; dmarc=pass\r\n"
        "AUTHENTICATION-Results:\r\n\tMX.ours.test. 1;\r\n dkim=pass header.d=good.test\r\n"
        "Authentication-Results: (c) mx.ours.test; nonsense\r\n"
    )
    content = mail("a@good.test", more=forged + others + forged)
    result = await site.take(content, peer=STRANGER)
    assert told(result)["dmarc"] == "fail"
    assert result.copies[0].content.octets.count(b"mx.other.test") == 1
    assert result.copies[0].content.octets.lower().count(b"mx.ours.test") == 1
    named = await site.take(content, peer=STRANGER, authserv_id="ours.test")
    assert b"mx.ours.test" not in named.copies[0].content.octets.lower(), "our host name is ours too"
    # They go even from those whom nobody checks.
    trusted = await site.take(content, context={"can_relay": "true"}, dmarc="enforce", peer=STRANGER)
    assert b"mx.ours.test" not in trusted.copies[0].content.octets.lower()
    assert set(context(trusted).values()) == {"none"}


async def test_rules_can_ask(site: Site) -> None:
    rule = RuleOptions(
        phase="message",
        when="context.spf == 'fail' && context.dkim != 'pass' && context.dmarc_disposition == 'reject'",
        action="reject",
        text="5.7.1 no",
    )
    refused = await site.take(mail("a@good.test"), peer=STRANGER, rules=[rule])
    assert str(refused.refused) == "550 5.7.1 no"
    taken = await site.take(mail("a@good.test", "good.test"), peer=STRANGER, rules=[rule])
    assert taken.refused is None and not taken.errors


async def test_dns_that_does_not_answer_refuses_nobody(site: Site) -> None:
    # The author's own key and SPF record can't be had: they might have passed.
    site.zone.fault(KEYS["good.test"].name, "servfail")
    site.zone.fault("good.test", "servfail")
    result = await site.take(mail("a@good.test", "good.test"), peer=STRANGER, dmarc="enforce")
    assert told(result) == {"spf": "temperror", "dkim": "temperror", "arc": "none", "dmarc": "temperror"}
    site.zone.fault("_dmarc.none.test", "servfail")
    result = await site.take(mail("a@none.test"), dmarc="enforce")
    assert told(result)["dmarc"] == "temperror"


async def test_a_strangers_dead_name_server_excuses_nobody(site: Site) -> None:
    content = mail("a@good.test", "slow.test")
    refused = await site.take(content, peer=STRANGER, dmarc="enforce", authenticate_time=1.0)
    assert refused.refused is not None and refused.refused.code == 550
    # And where the author's own signature is good, it does not harm it.
    taken = await site.take(
        mail("a@good.test", "slow.test", "good.test"), peer=STRANGER, dmarc="enforce", authenticate_time=30.0
    )
    assert taken.refused is None


async def test_listeners_that_do_not_check_have_no_hooks(site: Site) -> None:
    config = Config(listener=[ListenerOptions(address=MX)])
    assert authentication_hooks(config, site.resolver, SystemClock()) == []


async def test_unicode_from_strangers_stays_out_of_the_field(site: Site) -> None:
    content = "From: a@grüße.test\r\nDKIM-Signature: v=1; d=grüße.test; s=ü; a=é\r\n\r\nx\r\n".encode()
    result = await site.take(content, sender="ä@grüße.test", helo="mx.grüße.test")
    field = result.copies[0].content.octets.partition(b"\r\nFrom:")[0]
    assert field.isascii() and b"smtp.mailfrom=xn--" in field


# --- ARC --------------------------------------------------------------------------------------------------------------


def ring(folder: Path) -> KeyRing:
    (folder / "arc.pem").write_bytes(ARC_KEY.pem())
    options = [DkimOptions(domain="ours.test", selector="arc", key="arc.pem")]
    return load_keys(options, folder, lambda: 1.7e9)


async def sealed(site: Site, content: bytes, **about: Any) -> tuple[bytes, Sealing, Transaction]:
    """The message as it goes out, after the checks and the seal."""
    result = await site.take(content, arc_seal=True, **about)
    (copy,) = result.copies
    kept = Kept()
    keys = ring(site.folder)
    sealer = Sealing(kept, "mx.ours.test", lambda: keys, lambda: 1.7e9)
    body = Body(copy.content.octets, b"Received: x\r\n")
    transaction = Transaction("a@s.test", [Recipient("b@x.test", "x.test")], body, context=dict(copy.context))
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    sealer.accept(transaction, done.set_result)
    assert await done == Accepted([1])
    return bytes(kept.transactions[0].body), sealer, kept.transactions[0]


async def test_what_is_relayed_is_sealed(site: Site) -> None:
    first, sealer, kept = await sealed(site, mail("a@good.test", "good.test"))
    assert FOUND not in kept.context and kept.context["dmarc"] == "pass"
    assert sealer.sealed == 1
    chain = await verify_chain(first, site.resolver)
    assert (chain.result, chain.instances, chain.domains) == (ChainResult.PASS, 1, ("ours.test",))
    assert b"ARC-Authentication-Results: i=1; mx.ours.test;\r\n spf=pass" in first.replace(b"; spf", b";\r\n spf")
    record = ARC_KEY.record().encode()
    result, _, reason = dkim.arc_verify(first, dnsfunc=lambda name, timeout=5: record)
    assert (result, reason) == (b"pass", "success")
    # Once more around: the chain is checked, told, and gone on with.
    second, _, kept = await sealed(site, first, peer=STRANGER, sender="x@none.test")
    assert kept.context["arc"] == "pass"
    chain = await verify_chain(second, site.resolver)
    assert (chain.result, chain.instances) == (ChainResult.PASS, 2)
    # Changed behind our back: told as broken, and sealed as such; then nobody may add to it.
    broken, _, kept = await sealed(site, second.replace(b"Hello", b"Hullo"))
    assert kept.context["arc"] == "fail"
    chain = await verify_chain(broken, site.resolver)
    assert (chain.result, chain.ended) == (ChainResult.FAIL, True)
    again, sealer, _ = await sealed(site, broken)
    assert sealer.unsealed == 1 and again.count(b"ARC-Seal: i=") == broken.count(b"ARC-Seal: i=")


async def test_a_chain_that_could_not_be_checked_is_not_sealed_as_broken(site: Site) -> None:
    first, _, _ = await sealed(site, mail("a@good.test", "good.test"))
    site.zone.fault(ARC_KEY.name, "servfail")
    async with resolving(site.zone) as fresh:
        other = Site(site.zone, fresh, site.folder)
        result = await other.take(first, arc_seal=True)
    assert context(result)["arc"] == "temperror"
    assert FOUND not in result.copies[0].context


async def test_without_a_key_mail_goes_unsealed() -> None:
    kept = Kept()
    sealer = Sealing(kept, "mx.ours.test", lambda: KeyRing([], lambda: 0.0), lambda: 0.0)
    for noted in ('["none", 0, false, "x; none"]', "no JSON"):
        body = Body(b"From: a@b.test\r\n\r\nx\r\n")
        transaction = Transaction("a@s.test", [Recipient("b@x.test", "x.test")], body, context={FOUND: noted})
        sealer.accept(transaction, lambda result: None)
    assert sealer.unsealed == 2 and [bytes(each.body) for each in kept.transactions] == [bytes(body)] * 2
    assert not any(each.context for each in kept.transactions)


@given(st.binary(max_size=300))
def test_authors_of_anything(value: bytes) -> None:
    domains, forged = authors(b"From: " + value + b"\r\n\r\n")
    assert not (domains and forged)
    assert len(domains) <= 4
