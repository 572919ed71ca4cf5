"""What is kept with the mail suffices to make a lost injection event again as it was."""

from __future__ import annotations

from postroad.events import EventEncoder
from postroad.message import Body, Message, Recipient, Transaction
from postroad.queue.stored import common_event, encode

SESSION = {"tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_256_GCM_SHA384", "auth_method": "PLAIN"}


def test_an_injection_event_is_made_again_as_it_was() -> None:
    encoder = EventEncoder()
    recipients = [Recipient(f"{name}@b.example", "b.example") for name in "ab"]
    transaction = Transaction("s@a.example", recipients, Body(b"Subject: x\r\n\r\nx\r\n"), connection=dict(SESSION))
    shared = encoder.shared(transaction, 1000.5)
    messages = []
    for number, recipient in enumerate(recipients):
        message = Message()
        message.id, message.recipient, message.domain = 7 + number, recipient.address, recipient.domain
        message.binding, message.expires, message.context = "mine", 2000.0, {}
        message.notify, message.orcpt = recipient.notify, recipient.orcpt
        message.event = encoder.common(shared, message.id, recipient)
        messages.append(message)
    first = [encoder.injection(m.event, m.id, 1000.5, m.binding, transaction.connection) for m in messages]
    assert b'"tls_cipher":"TLS_AES_256_GCM_SHA384"' in first[0]
    meta = encode(transaction, messages)
    for index, message in enumerate(messages):
        common, binding, connection = common_event(meta, index)
        assert encoder.injection(common, message.id, 1000.5, binding, connection) == first[index]
