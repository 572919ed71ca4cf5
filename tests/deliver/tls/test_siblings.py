"""Connections of siblings where the host has to show who it is."""

from __future__ import annotations

from typing import Any

import pytest

from postroad.message import Verdict
from postroad.net import MxHost
from tests.deliver.peers import DOMAIN, Names, peers, scene
from tests.deliver.supply import Shelf, message
from tests.deliver.tls.peers import HOST, Certificates, TlsPeer, server_context

OTHER, ALIAS = "other.example", "mx.example.org"


@pytest.mark.parametrize(
    ("name", "options", "connections"),
    [
        (HOST, {"tls_verify": "host"}, 1),
        (ALIAS, {"tls_verify": "host"}, 2),  # it has shown to be the one, and is to show that it is the other
        (ALIAS, {"tls_verify": "none"}, 1),
    ],
)
async def test_who_is_verified_by_name_must_be_the_same(
    issued: Certificates, name: str, options: dict[str, Any], connections: int
) -> None:
    peer = TlsPeer(server_context(issued.authority.issue_cert(HOST, ALIAS)))
    names = Names()
    names.hosts = {DOMAIN: [MxHost(10, HOST)], OTHER: [MxHost(10, name)]}
    names.at = {HOST: ["127.0.0.1"], ALIAS: ["127.0.0.1"]}
    shelf = Shelf()
    options = {"tls": "required", "tls_ca": issued.file, **options}
    async with peers(peer) as port, scene(port, shelf=shelf, names=names, **options) as at:
        for number, domain in enumerate((DOMAIN, OTHER), 1):
            shelf.put(message(number, domain=domain))
            await at.run(number, domain)
            assert shelf.outcome(number).verdict is Verdict.DELIVERED
            assert f"verified={options['tls_verify'].replace('none', 'no')}" in shelf.outcome(number).tls
    assert peer.connections == connections and len(peer.received) == 2
