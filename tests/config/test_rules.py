"""What must be well formed, and what must fit together."""

import pytest

from postroad.config import ConfigError, parse, split_address

PUBLIC_RELAY = '[[listener]]\naddress = "0.0.0.0:25"\nrelay = true\n'
SHUT = """
[[listener.peers]]
network = "0.0.0.0/0"
allow = false
[[listener.peers]]
network = "::/0"
relay = false
[[listener.peers]]
network = "192.0.2.0/24"
"""
OPEN_RELAY = (
    "listener[0].relay: on an address that all can reach makes this an open relay; allow the networks of your clients"
    " in peers"
)

ERRORS = [
    ('[server]\nhostname = "-x.example"', "2:1: server.hostname: is not a host name"),
    ('[server]\nhostname = ""', "2:1: server.hostname: is not a host name"),
    ('[[listener]]\naddress = "25"', "2:1: listener[0].address: must be HOST:PORT or [IPv6]:PORT"),
    ('[[listener]]\naddress = "::1:25"', "2:1: listener[0].address: must be HOST:PORT; an IPv6 address stands in"),
    ('[[listener]]\naddress = "127.0.0.1:65536"', "2:1: listener[0].address: must be HOST:PORT"),
    (
        '[[listener]]\naddress = "127.0.0.1:25"\n[[listener]]\naddress = "127.0.0.1:25"',
        "4:1: listener[1].address: 127.0.0.1:25 is taken by 127.0.0.1:25",
    ),
    (
        '[[listener]]\naddress = "0.0.0.0:25"\n[[listener]]\naddress = "127.0.0.1:25"',
        "4:1: listener[1].address: 127.0.0.1:25 is taken by 0.0.0.0:25",
    ),
    (
        '[[listener]]\naddress = "[::1]:8025"\n[http]\naddress = "[::]:8025"',
        "4:1: http.address: [::]:8025 is taken by [::1]:8025",
    ),
    (
        '[[listener]]\nrelay_domains = ["a.example",\n  "@b.example"]',
        "3:3: listener[0].relay_domains[1]: must be a domain",
    ),
    (
        '[[listener]]\n[[listener.peers]]\nnetwork = "10.0.0.1/8"',
        "3:1: listener[0].peers[0].network: 10.0.0.1/8 has bits set behind the prefix; did you mean 10.0.0.0/8?",
    ),
    ('[[listener]]\npeers = [{network = "ten"}]', "2:11: listener[0].peers[0].network: ten is not a network such as"),
    (
        '[[listener]]\npeers = [{network = "10.0.0.0/8"}, {network = "10.0.0.0/8"}]',
        "2:37: listener[0].peers[1].network: 10.0.0.0/8 has options in peers[0] already",
    ),
    (PUBLIC_RELAY, "3:1: " + OPEN_RELAY),
    (PUBLIC_RELAY.replace("0.0.0.0", "8.8.8.8"), "3:1: " + OPEN_RELAY),
    (PUBLIC_RELAY.replace("0.0.0.0", "[::]"), "3:1: " + OPEN_RELAY),
    (PUBLIC_RELAY + SHUT.replace("::/0", "fc00::/7"), "3:1: " + OPEN_RELAY),
    (
        '[http]\nkeys = [{label = "a", sha256 = "%s"}, {label = "b", sha256 = "%s"}]' % ("0" * 64, "0" * 64),  # noqa: UP031
        "2:115: http.keys[1].sha256: is the key of keys[0] already",
    ),
    ('[queue]\nretry_interval = "1d"', "2:1: queue.retry_interval: is longer than max_retry_interval"),
    ('[delivery]\nsource_address = "::1"', "2:1: delivery.source_address: is not an IPv4 address"),
    ('[delivery]\nsource_address6 = "127.0.0.1"', "2:1: delivery.source_address6: is not an IPv6 address"),
    ('[delivery]\nehlo_hostname = "a_b"', "2:1: delivery.ehlo_hostname: is not a host name"),
    ('[delivery]\ngateway = "relay.a.example"', "2:1: delivery.gateway: must be HOST:PORT"),
    ('[delivery]\ngateway = "relay.a.example:0"', "2:1: delivery.gateway: port 0 can't be connected to"),
    ('[delivery]\nroutes = ["relay.a.example", "b:0"]', "2:30: delivery.routes[1]: port 0 can't be connected to"),
    ('[delivery]\nsmtp_auth_secret = "hunter2"', '2:1: delivery.smtp_auth_secret: must be "file:/absolute/path"'),
    ('[delivery]\nprohibited_hosts = ["127.0.0.1/8"]', "2:21: delivery.prohibited_hosts[0]: 127.0.0.1/8 has bits set"),
    ('[dns]\nservers = ["ns.a.example:53"]', "2:12: dns.servers[0]: must be an IP address, IPv4:PORT or [IPv6]:PORT"),
    ('[dns]\nmin_ttl = "2d"', "2:1: dns.min_ttl: is longer than max_ttl"),
]


@pytest.mark.parametrize(("text", "problem"), ERRORS)
def test_errors(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "p")
    assert [str(found)[: len(problem) + 2] for found in caught.value.problems] == ["p:" + problem]


SET = '[server]\nhostname = "mx.a.example"\n'
KEY = f'[http]\nkeys = [{{label = "a", sha256 = "{"0" * 64}"}}]\n'
WARNINGS = [
    ("", ["http.keys: there is no key: every request will be refused"]),
    (SET + KEY, []),
    (KEY + "[[listener]]", ["server.hostname: is not set: other hosts will be told localhost.localdomain"]),
    (
        '[server]\ndurability = "memory"\n' + KEY,
        ["server.durability: with memory, accepted mail is lost when the process ends"],
    ),
    ('http.address = ""', ["listener: neither SMTP nor HTTP listens: no mail can come in"]),
    (
        KEY + '[queue]\nmessage_expiration = "5m"',
        ["queue.retry_interval: is longer than message_expiration: nothing is tried twice"],
    ),
    (
        SET + KEY + '[[listener]]\n[[listener.peers]]\nnetwork = "0.0.0.0/0"\nrelay = true',
        ["listener[0].peers[0].relay: makes this an open relay for the whole Internet"],
    ),
    (SET + KEY + PUBLIC_RELAY + SHUT, []),
    (SET + KEY + '[[listener]]\nrelay = true\naddress = "127.0.0.1:25"', []),
    (SET + KEY + '[[listener]]\nrelay = true\naddress = "localhost:25"', []),
    (SET + KEY + '[[listener]]\nrelay = true\naddress = "10.1.2.3:25"', []),
    (SET + KEY + '[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\naddress = "127.0.0.1:0"', []),
    (SET + KEY + '[[listener]]\naddress = "0.0.0.0:25"\n[[listener]]\naddress = "[::]:25"', []),
    (KEY + '[dns]\nservers = ["127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:53"]', []),
]


@pytest.mark.parametrize(("text", "warnings"), WARNINGS)
def test_warnings(text: str, warnings: list[str]) -> None:
    assert [f"{problem.name}: {problem.text}" for problem in parse(text).warnings] == warnings


def test_a_default_listener_may_not_have_the_port_of_http() -> None:
    assert parse("[[listener]]").config.http.address == "127.0.0.1:8025"
    with pytest.raises(ConfigError, match=r"127.0.0.1:2525 is taken by 127.0.0.1:2525"):
        parse('http.address = "127.0.0.1:2525"\n[[listener]]')


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:25", "127.0.0.1", 25),
        ("[::1]:0", "::1", 0),
        ("[2001:DB8::0:1]:25", "2001:db8::1", 25),
        ("mx-1.a.example:65535", "mx-1.a.example", 65535),
    ],
)
def test_split_address(text: str, host: str, port: int) -> None:
    assert split_address(text) == (host, port)


@pytest.mark.parametrize("text", ["", ":25", "a", "a:", "a:x", "a:-1", "a:٣", "[::1]", "[::1:25", "a b:25", "[a]:25"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be HOST:PORT"):
        split_address(text)
