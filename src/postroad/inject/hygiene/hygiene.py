"""The checks that one listener's options switch on, in the order of their price."""

from __future__ import annotations

from postroad.config.schema import ListenerOptions
from postroad.inject.hygiene.audit import Audit
from postroad.inject.hygiene.checks import Facts, check_hello, check_hello_dns, check_lists, check_sender
from postroad.message import Reply
from postroad.net import Resolver


class Hygiene:
    """asks: there is something to examine at MAIL. audit: None when nothing is counted.

    Raises ValueError when the options ask DNS and there is no resolver.
    """

    def __init__(self, options: ListenerOptions, hostname: str, resolver: Resolver | None) -> None:
        self._options = options
        self._hostname = hostname
        self._resolver = resolver
        asks_dns = options.hello_check == "dns" or options.sender_check or bool(options.dns_lists)
        if asks_dns and resolver is None:
            raise ValueError("hello_check, sender_check and dns_lists need a resolver")
        self.asks = asks_dns or options.hello_check != "no"
        audit = Audit(
            {
                "connection": options.peer_connection_rate,
                "message": options.peer_message_rate,
                "recipient": options.peer_recipient_rate,
                "error": options.peer_error_rate,
            }
        )
        self.audit = audit if audit.counts_anything else None

    async def examine(self, facts: Facts) -> Reply | None:
        """None, or why this client may not send this."""
        options, resolver = self._options, self._resolver
        refusal = check_hello(facts, self._hostname) if options.hello_check != "no" else None
        if refusal is not None or resolver is None:
            return refusal
        if options.dns_lists:
            refusal = await check_lists(facts, options.dns_lists, resolver)
        if refusal is None and options.hello_check == "dns":
            refusal = await check_hello_dns(facts, resolver)
        if refusal is None and options.sender_check:
            refusal = await check_sender(facts, resolver)
        return refusal
