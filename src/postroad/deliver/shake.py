"""The TLS handshake of one connection, by the event loop's own `start_tls`."""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple

from postroad.deliver.tls import LOST, Request, Trouble, trouble

# Longer than any time for the step, which the connection itself keeps.
_FOREVER = 36525 * 86400.0


class Encrypted(NamedTuple):
    """transport: to be used instead of the one below. version: "TLSv1.3" ..."""

    transport: asyncio.Transport
    version: str
    cipher: str


async def shake(transport: asyncio.Transport, protocol: asyncio.Protocol, request: Request) -> Encrypted | Trouble:
    """Agree on TLS as a client. Of what goes wrong nothing is raised; then the transport below is of no more use."""
    assert request.context is not None
    if transport.is_closing():
        return LOST
    try:
        upper = await asyncio.get_running_loop().start_tls(
            transport,
            protocol,
            request.context,
            server_hostname=request.server_name or None,
            ssl_handshake_timeout=_FOREVER,
        )
        session: ssl.SSLObject | None = None if upper is None else upper.get_extra_info("ssl_object")
        if upper is None or session is None:
            # The connection ended meanwhile: asyncio gives no transport then, uvloop one that is none.
            return LOST
        wrong = request.examine(peer_chain(session)) if request.examine is not None else None
    except Exception as error:
        # Loops and Pythons differ in what they raise, and whoever waits for this connection must hear of it.
        return trouble(error)
    if wrong is not None:
        upper.abort()
        return wrong
    cipher = session.cipher()
    return Encrypted(upper, session.version() or "", cipher[0] if cipher else "")


def peer_chain(session: ssl.SSLObject) -> list[bytes]:
    """The certificates that the host sent, DER, its own first. They are not verified."""
    found = getattr(session, "get_unverified_chain", None)  # Python 3.13
    if found is not None:
        return list(found())
    # Python 3.11 and 3.12 have it, and do not show it.
    inner = getattr(session, "_sslobj", None)
    found = getattr(inner, "get_unverified_chain", None)
    if found is None:
        own = session.getpeercert(binary_form=True)
        return [own] if own else []
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in found() or []]
