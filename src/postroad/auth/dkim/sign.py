"""Signing (RFC 6376 5): one pass over the header section for all keys, one hash of the body for all recipients."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

from postroad.auth.dkim.canon import BodyHash, Canon, canonical_field
from postroad.auth.dkim.keys import PrivateKey
from postroad.auth.fields import Field, body_start, split_fields

# RFC 6376 5.4.1, and what list and unsubscribe buttons trust (RFC 8058 4 wants both of its fields signed).
DEFAULT_HEADERS = (
    "from",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "to",
    "cc",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
)
# Signed once more than they occur, so that nobody can add one (RFC 6376 8.15).
DEFAULT_OVERSIGNED = ("from", "reply-to", "subject", "date", "to", "cc", "content-type")


class Signer:
    """Signs with each of the keys. headers: names of the fields to sign, in lower case; `from` always is. lifetime:
    seconds until x=, 0 for none. canon: of header and body. There is no l=: it lets others append (RFC 6376 8.2)."""

    def __init__(
        self,
        keys: Sequence[PrivateKey],
        *,
        headers: Iterable[str] = DEFAULT_HEADERS,
        oversigned: Iterable[str] = DEFAULT_OVERSIGNED,
        header_canon: Canon = Canon.RELAXED,
        body_canon: Canon = Canon.RELAXED,
        lifetime: int = 0,
    ) -> None:
        names = [name.lower().encode("ascii") for name in headers]
        if b"dkim-signature" in names:
            raise ValueError("a signature does not sign DKIM-Signature fields")
        over = {name.lower().encode("ascii") for name in oversigned}
        self.keys = tuple(keys)
        self._names = list(dict.fromkeys([b"from", *names, *sorted(over)]))
        self._wanted = frozenset(self._names)
        self._over = over
        self._header_canon = header_canon
        self._body_canon = body_canon
        self._lifetime = lifetime
        canon = f"{header_canon.value}/{body_canon.value}".encode()
        self._starts = [
            b"DKIM-Signature: v=1; a=%s; c=%s;\r\n d=%s; s=%s;\r\n t="
            % (key.algorithm.value.encode(), canon, key.domain.encode(), key.selector.encode())
            for key in self.keys
        ]

    def sign(self, content: bytes, *, now: float, trace: bytes = b"", body: BodyHash | None = None) -> bytes:
        """The DKIM-Signature fields to put in front, one a key, each with its CRLF.

        content: the message with CRLF line ends; trace: whole fields that go out in front of it; body: the hash of
        this content's body, when others share it; now: seconds since 1970. Raises ValueError when there is no From:
        such a message can't be signed (RFC 6376 5.4).
        """
        start = body_start(content)
        hash_ = body or BodyHash(content, start)
        chosen = self._choose(split_fields(trace + content[:start]))
        if not chosen[0]:
            raise ValueError("the message has no From field")
        names, signed = self._header(chosen)
        when = int(now)
        times = b"%d; x=%d" % (when, when + self._lifetime) if self._lifetime else b"%d" % when
        bh = base64.b64encode(hash_.sha256(self._body_canon))
        rest = b"%s;\r\n h=%s;\r\n bh=%s;\r\n b=" % (times, names, bh)
        fields = []
        for key, begin in zip(self.keys, self._starts, strict=True):
            unsigned = begin + rest
            # The signature's own field is signed last, with an empty b= and without its CRLF (RFC 6376 3.7).
            own = canonical_field(unsigned + b"\r\n", self._header_canon)[:-2]
            digest = hashlib.sha256(signed + own).digest()
            fields.append(unsigned + folded_base64(key.sign_digest(digest)) + b"\r\n")
        return b"".join(fields)

    def _choose(self, fields: list[Field]) -> list[list[bytes]]:
        """For each name the raw fields, the lowest first, as signatures count them (RFC 6376 5.4.2)."""
        found: dict[bytes, list[bytes]] = {name: [] for name in self._names}
        for field in reversed(fields):
            if field.name in self._wanted:
                found[field.name].append(field.raw)
        return list(found.values())

    def _header(self, chosen: list[list[bytes]]) -> tuple[bytes, bytes]:
        """The folded h= value, and what is signed of the header."""
        names: list[bytes] = []
        signed: list[bytes] = []
        for name, raws in zip(self._names, chosen, strict=True):
            names += [name] * (len(raws) + (name in self._over))
            signed += [canonical_field(raw, self._header_canon) for raw in raws]
        return folded_names(names), b"".join(signed)


def folded_names(names: list[bytes], width: int = 70) -> bytes:
    """h=: names with colons between them, in lines of about that width."""
    lines: list[bytes] = []
    line = b""
    for name in names:
        if line and len(line) + len(name) > width:
            lines.append(line)
            line = b""
        line = line + b":" + name if line or lines else name
    return b"\r\n ".join([*lines, line])


def folded_base64(data: bytes) -> bytes:
    """base64 in lines of 72."""
    text = base64.b64encode(data)
    return b"\r\n ".join(text[start : start + 72] for start in range(0, len(text), 72))
