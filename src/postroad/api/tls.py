"""TLS for the HTTP API: a context for the listening socket that always shows the newest certificates."""

from __future__ import annotations

import logging
import ssl

from postroad.config.schema import HttpOptions, ListenerOptions
from postroad.inject.certificates import Certificates

log = logging.getLogger("postroad.api")


class HttpsDoor:
    """context: for the socket, for as long as it listens. Raises OSError or ValueError when a certificate can't be
    used."""

    def __init__(self, options: HttpOptions) -> None:
        # The part of a listener's options that certificates are made of.
        self._options = ListenerOptions(
            address=options.tls_address, certificates=options.certificates, tls_min_version=options.tls_min_version
        )
        self._certificates = Certificates(self._options)
        self.context = Certificates(self._options).context
        self.context.set_alpn_protocols(["http/1.1"])
        self.context.sni_callback = self._choose

    def reload(self) -> None:
        """Read the files again. A certificate that can't be used is logged, and those before stay."""
        try:
            self._certificates = Certificates(self._options)
        except (OSError, ValueError) as error:
            log.error("%s keeps its certificates, as the new ones can't be used: %s", self._options.address, error)

    def _choose(self, session: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Asked for every session, also where the client names nobody."""
        session.context = self._certificates.find(name or "")
