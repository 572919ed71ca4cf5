"""The domains in a From field, for DMARC: read so that what a mail program would show can't hide from us."""

from __future__ import annotations

import re

import idna

_TOKENS = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<space>[ \t\r\n]+)|(?P<special>[<>,:;@()\[\]])"""
    r"""|(?P<word>[^"<>,:;@()\[\] \t\r\n]+)""",
    re.DOTALL,
)
# A longer field is read as one without addresses: cut short it could hide some.
_MAX_LENGTH = 8192


def author_domains(value: bytes) -> list[str]:
    """Domains of all addresses in the value of a From field, as A-labels in lower case, each once. [] when there is no
    address, or the field breaks the grammar where it matters."""
    if len(value) > _MAX_LENGTH:
        return []
    text = value.decode("utf-8", "replace").replace("\r\n", "")
    domains: dict[str, None] = {}
    for address in _addresses(text):
        domain = to_ascii(address.rpartition("@")[2])
        if domain:
            domains[domain] = None
    return list(domains)


def to_ascii(domain: str) -> str:
    """ "" for what is no domain name."""
    if len(domain) > 1000:
        return ""  # before IDNA, whose cost grows with the square
    domain = domain.strip().removesuffix(".").lower()
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            return ""
    good = re.fullmatch(r"[a-z0-9_](?:[a-z0-9_.\-]*[a-z0-9_])?", domain)
    return domain if good and ".." not in domain and len(domain) <= 253 else ""


def _addresses(text: str) -> list[str]:
    """Each mailbox: what stands in angle brackets, else the whole of it."""
    found: list[str] = []
    plain: list[str] = []
    angle: list[str] | None = None
    inside = False
    depth = 0
    at = 0

    def end() -> None:
        nonlocal plain, angle, inside
        address = "".join(plain if angle is None else angle)
        if "@" in address:
            found.append(address)
        plain, angle, inside = [], None, False

    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            return []  # a quote that does not end; what it hides is anybody's guess, and looking on costs the square
        at = match.end()
        token = match[0]
        if match["special"] and token in "()":
            depth = max(0, depth + (1 if token == "(" else -1))
        elif depth or match["space"]:
            continue
        elif token == "<" and not inside:
            angle, inside = [], True
        elif token == ">" and inside:
            inside = False
        elif token in (",", ";") and not inside:
            end()
        elif token == ":" and not inside:
            plain = []  # the name of a group
        elif inside and angle is not None:
            angle.append(token)
        elif angle is None:
            plain.append(token)
    end()
    return found
