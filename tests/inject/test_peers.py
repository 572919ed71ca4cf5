"""Options by client network: the most specific network wins, and what it leaves out is the listener's."""

from __future__ import annotations

import pytest

from postroad.config.schema import Duration, ListenerOptions, PeerOptions, Size
from postroad.inject.peers import Peers, plain_address

_OPTIONS = ListenerOptions(
    max_recipients=100,
    idle_time=Duration(60),
    peers=[
        PeerOptions(network="10.0.0.0/8", relay=True, max_recipients=50),
        PeerOptions(network="0.0.0.0/0", max_message_size=Size(1000)),
        PeerOptions(network="10.1.0.0/16", allow=False),
        PeerOptions(network="10.1.2.3/32", max_sessions=2, idle_time=Duration(5), smtputf8=False),
        PeerOptions(network="2001:db8::/32", relay=True, max_messages_per_session=7),
    ],
)


@pytest.mark.parametrize(
    ("address", "network", "allow", "relay", "recipients", "size", "idle"),
    [
        ("192.0.2.1", "0.0.0.0/0", True, False, 100, 1000, 60),
        ("10.9.9.9", "10.0.0.0/8", True, True, 50, 50 << 20, 60),
        ("10.1.9.9", "10.1.0.0/16", False, False, 100, 50 << 20, 60),
        ("10.1.2.3", "10.1.2.3/32", True, False, 100, 50 << 20, 5),
        ("2001:db8::1", "2001:db8::/32", True, True, 100, 50 << 20, 60),
        ("2001:db9::1", "", True, False, 100, 50 << 20, 60),
        ("unknown", "", True, False, 100, 50 << 20, 60),
    ],
)
def test_the_most_specific_network_wins(
    address: str, network: str, allow: bool, relay: bool, recipients: int, size: int, idle: float
) -> None:
    peer = Peers(_OPTIONS).find(address)
    assert (peer.network, peer.allow, peer.options.relay) == (network, allow, relay)
    assert peer.options.max_recipients == recipients
    assert (peer.options.max_message_size, peer.options.idle_time) == (size, idle)


def test_a_networks_session_limit_is_not_the_listeners() -> None:
    peer = Peers(_OPTIONS).find("10.1.2.3")
    assert peer.max_sessions == 2 and peer.options.max_sessions == _OPTIONS.max_sessions
    assert peer.options.smtputf8 is False


def test_options_are_merged_once() -> None:
    peers = Peers(_OPTIONS)
    assert peers.find("10.9.9.9") is peers.find("10.8.8.8")


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError):
        Peers(ListenerOptions(peers=[PeerOptions(network="10.0.0.1/8")]))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:192.0.2.1", "192.0.2.1"),
        ("::ffff:1", "::ffff:1"),
    ],
)
def test_plain_address(host: str, address: str) -> None:
    assert plain_address(host) == address
