"""SPF where the suite does not look: hostile records, limits, and real name servers."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from postroad.auth.spf import RecordError, check_host, parse_record
from postroad.config.schema import DnsOptions
from postroad.net import DnsResolver
from tests.auth.spf.suite import Zone
from tests.net.nameserver import NameServer, serving

ZONE = """
good.example. 300 IN TXT "v=spf1 a:mail.good.example" " mx ptr:good.example exists:%{ir}.%{v}.good.example -all"
good.example. 300 IN MX 10 mx.good.example.
mail.good.example. 300 IN A 192.0.2.1
mx.good.example. 300 IN AAAA 2001:db8::1
host.good.example. 300 IN A 192.0.2.3
3.2.0.192.in-addr.arpa. 300 IN PTR host.good.example.
4.2.0.192.in-addr.good.example. 300 IN A 127.0.0.2
"""


async def test_real_resolver() -> None:
    async with serving(NameServer(ZONE)) as servers:
        resolver = DnsResolver(DnsOptions(servers=servers), rng=Random(1), resolv_conf="/nonexistent")
        found = []
        for client in ("192.0.2.1", "2001:db8::1", "192.0.2.3", "192.0.2.4", "192.0.2.9", "::ffff:192.0.2.1"):
            outcome = await check_host(client, "a@good.example", "helo.example", resolver)
            found.append(outcome.result.value)
        await resolver.close()
    # 192.0.2.4 has no name, and the mail host no IPv4 address: two look-ups that find nothing, and exists finds one.
    # For 192.0.2.9 exists is the third that finds nothing.
    assert found == ["pass", "pass", "pass", "pass", "permerror", "pass"]


async def test_include_loops_end() -> None:
    zone = Zone({"a.example": [{"TXT": "v=spf1 include:a.example"}]})
    assert (await check_host("192.0.2.1", "x@a.example", "h", zone)).result.value == "permerror"


TERMS = st.sampled_from(
    [
        "v=spf1",
        " ",
        "a",
        "mx",
        "-all",
        "include:",
        "redirect=",
        "exp=",
        "ip4:",
        "192.0.2.0",
        "/24",
        "//64",
        "%{",
        "d2r",
        "}",
        ":",
        "é",
    ]
)


@given(st.one_of(st.binary(max_size=100), st.lists(TERMS, max_size=12).map(lambda parts: "".join(parts).encode())))
async def test_any_record_is_judged(raw: bytes) -> None:
    raw = b"v=spf1 " + raw
    try:
        parse_record(raw)
        broken = False
    except RecordError:
        broken = True

    class Fixed(Zone):
        async def txt(self, name: str) -> list[bytes]:
            return [raw]

    outcome = await check_host("192.0.2.1", "x@a.example", "h", Fixed({}))
    assert not broken or outcome.result.value == "permerror"
