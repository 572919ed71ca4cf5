"""Mail that comes by SMTP with the key of a subaccount is that subaccount's."""

from __future__ import annotations

import pytest

from postroad.auth import ApiKeys, Key
from postroad.auth.keys import Entry
from postroad.auth.smtpauth import SmtpUsers
from tests.inject.kit import Client, MemoryAcceptor
from tests.inject.trusted import KEY, coded, listening


@pytest.mark.parametrize(("subaccount", "wanted"), [(7, "7"), (None, None)])
async def test_its_number_is_in_the_context(subaccount: int | None, wanted: str | None) -> None:
    acceptor = MemoryAcceptor()
    listener = listening(acceptor, auth=True, auth_without_tls=True)
    entry = Entry(Key("shop", frozenset(("smtp/inject",)), subaccount), ())
    listener.users = SmtpUsers([], ApiKeys([], lambda _: entry), active=lambda _: True)
    await listener.start()
    client = await Client.connect(listener)
    try:
        await client.hello()
        assert (await client.say(b"AUTH PLAIN " + coded(f"\0SMTP_Injection\0{KEY}") + b"\r\n")).code == 235
        assert (await client.send()).code == 250
    finally:
        await client.close()
        await listener.close()
    (transaction,) = acceptor.transactions
    assert transaction.connection.get("subaccount_id") == wanted
