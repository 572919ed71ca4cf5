"""Keys of sending domains: made here or brought by a client, and sealed at once (api.md 9.2, 9.3)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from postroad.api.sendingdomainshapes import HEADERS, DkimGiven
from postroad.auth.author import to_ascii
from postroad.auth.dkim import Algorithm, DkimKeyError, PrivateKey, PublicKey, own_secret, read_key_record, seal, unseal
from postroad.inject.http import Code
from postroad.inject.http.faults import Faults
from postroad.store.sendingdomains import DomainKey

MIN_BITS = 1024
MAX_BITS = 4096
DEFAULT_BITS = 2048
TRIPLE = "When providing custom keys, private, public, and selector must all be specified"
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?\Z")
_ARMOUR = re.compile(r"-----[A-Z ]+-----")
_SPACE = re.compile(r"\s+")
_KINDS = ("PRIVATE KEY", "RSA PRIVATE KEY")  # PKCS #8, PKCS #1


def domain_name(text: str) -> str:
    """As A-labels in lower case; "" for what can't be a domain of the public DNS: one label, an address, a name with
    odd characters."""
    name = to_ascii(text) if text == text.strip() else ""
    labels = name.split(".")
    good = len(labels) > 1 and all(_LABEL.match(label) for label in labels) and not labels[-1].isdigit()
    return name if good else ""


def check_key(faults: Faults, given: DkimGiven | None, bits: int | None) -> None:
    """What can be said without looking at the key itself."""
    if bits is not None and not MIN_BITS <= bits <= MAX_BITS:
        faults.add(Code.INVALID_FORMAT, f"'dkim_key_length' must be {MIN_BITS} to {MAX_BITS}")
    if given is None:
        return
    triple = (given.private, given.public, given.selector)
    if any(each is not None for each in triple) and not all(triple):
        faults.add(Code.INVALID_PARAMS, TRIPLE)
    if given.selector and not _LABEL.match(given.selector.lower()):
        faults.add(Code.INVALID_FORMAT, "'dkim.selector' must be one label of letters, digits and -")
    if given.signing_domain and not domain_name(given.signing_domain):
        faults.add(Code.INVALID_FORMAT, "'dkim.signing_domain' must be a domain name")
    if given.headers is not None and not re.fullmatch(r"[\x21-\x7e]*", given.headers):
        faults.add(Code.INVALID_FORMAT, "'dkim.headers' must be names of header fields, separated by colons")


def new_selector(now: float) -> str:
    """One a month, so that its name tells how old a key is: pr1126."""
    return datetime.fromtimestamp(now, UTC).strftime("pr%m%y")


class KeyMaker:
    """secret: the file of the server's secret. All methods raise SealError when that can't be read or written; work
    that takes a processor for long is done in a thread, one key at a time: who asks for hundreds of large keys must
    leave the other threads to others."""

    def __init__(self, secret: Path) -> None:
        self._secret = secret
        self._turn = asyncio.Lock()

    async def _aside(self, work: Callable[[], DomainKey]) -> DomainKey:
        async with self._turn:
            return await asyncio.to_thread(work)

    async def generated(self, domain: str, selector: str, bits: int) -> DomainKey:
        def made() -> DomainKey:
            return self._sealed(PrivateKey.generate(domain, selector, Algorithm.RSA, bits=bits), HEADERS)

        return await self._aside(made)

    async def brought(self, given: DkimGiven, domain: str) -> DomainKey:
        """A whole triple. Raises DkimKeyError, whose text holds nothing of the key."""

        def read() -> DomainKey:
            signing_domain = domain_name(given.signing_domain or "") or domain
            key = _private(given.private or "", signing_domain, (given.selector or "").lower())
            if not _public(given.public or "").matches(public_half(key.record())):
                raise DkimKeyError("'dkim.public' does not belong to 'dkim.private'")
            return self._sealed(key, given.headers or HEADERS)

        return await self._aside(read)

    async def changed(self, key: DomainKey, domain: str, signing_domain: str | None, headers: str | None) -> DomainKey:
        """The same key under another signing domain ("": the domain itself), or with other words in `headers`."""
        wanted = key.signing_domain if signing_domain is None else domain_name(signing_domain) or domain
        kept = key.headers if headers is None else headers or HEADERS
        if wanted == key.signing_domain:
            return key._replace(headers=kept)

        def sealed() -> DomainKey:
            old = unseal(key.sealed, key.signing_domain, key.selector, own_secret(self._secret))
            return self._sealed(PrivateKey.from_pem(wanted, key.selector, old.pem()), kept)

        return await self._aside(sealed)

    def _sealed(self, key: PrivateKey, headers: str) -> DomainKey:
        public = key.record().rpartition("p=")[2]
        return DomainKey(key.selector, key.domain, headers, public, seal(key, own_secret(self._secret)))


def public_half(record: str) -> PublicKey:
    return read_key_record(record.encode(), Algorithm.RSA)


def _bare(text: str) -> str:
    return _SPACE.sub("", _ARMOUR.sub("", text))


def _private(text: str, domain: str, selector: str) -> PrivateKey:
    """With or without armour; without, both kinds of content are tried."""
    try:
        bare = base64.b64encode(base64.b64decode(_bare(text), validate=True)).decode()
    except (binascii.Error, ValueError):
        raise DkimKeyError("'dkim.private' is not base64") from None
    for kind in _KINDS:
        try:
            key = PrivateKey.from_pem(
                domain, selector, f"-----BEGIN {kind}-----\n{bare}\n-----END {kind}-----\n".encode()
            )
        except DkimKeyError as error:
            if "bits" in str(error):
                raise
            continue
        if key.algorithm is not Algorithm.RSA:
            break
        if public_half(key.record()).bits > MAX_BITS:
            raise DkimKeyError(f"'dkim.private' has more than {MAX_BITS} bits")
        return key
    raise DkimKeyError("'dkim.private' is no RSA key in PKCS #1 or PKCS #8 without a passphrase")


def _public(text: str) -> PublicKey:
    bare = _bare(text)
    if not re.fullmatch(r"[A-Za-z0-9+/=]+", bare):
        raise DkimKeyError("'dkim.public' is not base64")
    try:
        return public_half(f"v=DKIM1; k=rsa; p={bare}")
    except DkimKeyError as error:
        raise DkimKeyError(f"'dkim.public': {error}") from None
