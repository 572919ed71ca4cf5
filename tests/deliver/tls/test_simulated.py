"""TLS in the simulated world: the same start_tls, on a loop without sockets, and with hours that pass at once."""

from __future__ import annotations

import asyncio

from postroad.deliver import TlsPolicies
from postroad.message import Body, Verdict
from postroad.net import Tlsa
from tests.deliver.peers import DOMAIN, Names, scene
from tests.deliver.supply import Shelf, message
from tests.deliver.tls.peers import Certificates, TlsPeer, server_context
from tests.lab.test_sim_net import machine


class Signed(Names):
    """Implements PolicyResolver from tables: everything is authentic."""

    def __init__(self) -> None:
        super().__init__()
        self.point(DOMAIN, "127.0.0.1")
        self.records: list[Tlsa] = []

    async def txt(self, name: str) -> list[bytes]:
        return []

    async def authentic_hosts(self, domain: str) -> frozenset[str]:
        return frozenset(mx.name for mx in await self.mx(domain))

    async def authentic_names(self, host: str) -> list[str]:
        return [host]

    async def tlsa(self, host: str, port: int) -> list[Tlsa]:
        return self.records


def test_a_delivery(issued: Certificates) -> None:
    async def deliver() -> str:
        peer = await TlsPeer(server_context(issued.right())).start()
        async with scene(
            peer.port, shelf=Shelf([message()]), tls="required", tls_verify="host", tls_ca=issued.file
        ) as at:
            await at.run(1)
            tls = at.shelf.outcome().tls
        await peer.stop()
        return tls

    for seed in range(5):
        loop, process = machine(seed)
        assert "verified=host" in loop.run_until_complete(process.run(deliver()))
        assert process.leftovers() == []
        loop.close()


def test_a_connection_that_is_no_longer_good_enough_takes_leave(issued: Certificates) -> None:
    """While it is busy with one message, a TLSA record turns up that its host does not match."""

    async def deliver() -> list[Verdict]:
        peer = await TlsPeer(server_context(issued.right())).start()
        names = Signed()
        shelf = Shelf([message(1)])
        async with scene(
            peer.port, shelf=shelf, resolver=names, policies=TlsPolicies(names, None), idle_timeout=300.0
        ) as at:
            await at.run(1)
            shelf.gate = asyncio.Event()
            shelf.bodies[2] = Body(b"Subject: x\r\n\r\n")
            shelf.put(message(2, loaded=False))
            at.wake()
            await shelf.asked.wait()
            await asyncio.sleep(61)  # what was looked up is no longer believed
            names.records = [Tlsa(3, 1, 1, b"\0" * 32)]
            shelf.put(message(3))
            at.wake()
            await asyncio.sleep(10)
            shelf.gate.set()
            await shelf.until(3)
            verdicts = [shelf.outcome(number).verdict for number in (1, 2, 3)]
        await peer.stop()
        return verdicts

    loop, process = machine(1)
    verdicts = loop.run_until_complete(process.run(deliver()))
    loop.close()
    assert verdicts == [Verdict.DELIVERED, Verdict.DELIVERED, Verdict.DEFERRED]
