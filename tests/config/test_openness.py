"""Open relays are found however they are written down."""

from __future__ import annotations

import pytest

from postroad.config import ConfigError, parse

WORLD = "makes this an open relay for the whole Internet"
FATAL = "on an address that all can reach makes this an open relay; allow the networks of your clients in peers"


def problems(listener: str, *peers: str) -> list[str]:
    """What is said of the listener; fatal problems with a "!" in front. peers: "network relay" or "network"."""
    text = f'[server]\nhostname = "mx.test"\n[[listener]]\naddress = "0.0.0.0:25"\n{listener}\n'
    for peer in peers:
        network, _, more = peer.partition(" ")
        text += f'[[listener.peers]]\nnetwork = "{network}"\n{more}\n'
    try:
        generation = parse(text)
    except ConfigError as error:
        return [f"!{problem.name}: {problem.text}" for problem in error.problems]
    return [f"{each.name}: {each.text}" for each in generation.warnings if each.name.startswith("listener")]


YES, NO, SHUT = "relay = true", "relay = false", "allow = false"


@pytest.mark.parametrize(
    ("listener", "peers", "expected"),
    [
        ("", ["10.0.0.0/8 " + YES], []),
        ("", ["198.51.100.0/22 " + YES, "2001:db8::/32 " + YES], []),
        ("", ["0.0.0.0/0 " + YES], [f"listener[0].peers[0].relay: {WORLD}"]),
        ("", ["0.0.0.0/1 " + YES, "128.0.0.0/1 " + YES], [f"listener[0].peers[0].relay: {WORLD}"]),
        ("", ["::/1 " + YES, "8000::/1 " + YES], [f"listener[0].peers[0].relay: {WORLD}"]),
        ("", ["0.0.0.0/0 " + YES, "0.0.0.0/1 " + NO, "128.0.0.0/1 " + SHUT], []),
        (
            "",
            ["8.0.0.0/6 " + YES],
            ["listener[0].peers[0].relay: and those beside it let 1.4% of all public IPv4 addresses relay"],
        ),
        (
            "",
            ["0.0.0.0/0 " + YES, "0.0.0.0/0"],
            ["!listener[0].peers[1].network: 0.0.0.0/0 has options in peers[0] already"],
        ),
        (YES, [], [f"!listener[0].relay: {FATAL}"]),
        (YES, ["0.0.0.0/0 " + NO], [f"!listener[0].relay: {FATAL}"]),
        (YES, ["0.0.0.0/0 " + NO, "::/0 " + SHUT], []),
        (YES, ["0.0.0.0/1 " + NO, "128.0.0.0/1 " + NO, "::/0 " + SHUT], []),
        (YES, ["0.0.0.0/2 " + NO, "128.0.0.0/1 " + NO, "::/0 " + SHUT], [f"!listener[0].relay: {FATAL}"]),
    ],
)
def test_networks_that_may_relay(listener: str, peers: list[str], expected: list[str]) -> None:
    assert problems(listener, *peers) == expected


@pytest.mark.parametrize(
    ("domain", "wide"),
    [
        (".com", True),
        (".xn--p1ai", True),
        ("com", False),  # itself alone, which has no mail
        (".example.com", False),
        ("example.com", False),
        (".test", False),
        (".internal", False),
    ],
)
def test_domains_that_everybody_may_send_to(domain: str, wide: bool) -> None:
    place = "listener[0].relay_domains[0]"
    text = f"{place}: lets everybody send to every domain below {domain}: that makes this an open relay"
    assert problems(f'relay_domains = ["{domain}"]') == ([text] if wide else [])
