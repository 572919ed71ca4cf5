"""Reading the arguments of commands: MAIL, RCPT, BDAT, EHLO (RFC 5321 4.1.1, 1870, 3030, 3461, 6152, 6531).

Pure functions: text in, value out, `BadCommand` with the reply to give when the text is wrong.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from postroad.inject import replies
from postroad.inject.events import Envelope
from postroad.message import Notify, Recipient, Reply, Ret
from postroad.message.address import AddressError, parse_mailbox, routing_domain

MAX_ENVID = 100  # octets, RFC 3461 4.4
MAX_ORCPT = 500  # octets, RFC 3461 4.2

# Possessive throughout: hostile text is matched in one pass, without backtracking.
_PLAIN, _QUOTED = r'[^"<>\s]*+', r'"(?:[^"\\]|\\.)*+"'
_PATH = f"<({_PLAIN}(?:{_QUOTED}{_PLAIN})*+)>"
_MAIL = re.compile(rf"FROM: *+{_PATH}(?: ++(.*))?", re.IGNORECASE)
_RCPT = re.compile(rf"TO: *+{_PATH}(?: ++(.*))?", re.IGNORECASE)
_SOURCE_ROUTE = re.compile(r"(?:@(?:\[[^\]]*+\]|[^\[\],:@\"]++))(?:,@(?:\[[^\]]*+\]|[^\[\],:@\"]++))*+:")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([^=\s]++.*))?")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*+")
# The unitext of RFC 6533 3 besides: characters above ASCII as they are, others as \x{HEX}, which xtext allows anyway.
_UNITEXT = re.compile(r"(?:[!-*,-<>-~\u00a0-\U0010ffff]|\+[0-9A-F]{2})*+")
_SIZE = re.compile(r"[0-9]{1,20}")
_BDAT = re.compile(r"([0-9]{1,20})(?: +(LAST))? *", re.IGNORECASE)
_HELLO = re.compile(r"[!-~]{1,255}")


class BadCommand(Exception):
    """The command is refused with this reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Chunk(NamedTuple):
    octets: int
    last: bool


def parse_hello(text: str) -> str:
    """The name after EHLO or HELO. Many honest clients give something that is no domain; RFC 5321 4.1.4 forbids to
    refuse mail for that, so all we ask for is one word of printable ASCII."""
    name = text.strip(" ")
    if not _HELLO.fullmatch(name):
        raise BadCommand(replies.EHLO_SYNTAX)
    return name


def hello_domain(name: str) -> str:
    """The name as a routing domain or literal, "" if it is neither."""
    try:
        return routing_domain(name)
    except AddressError:
        return ""


def parse_mail(text: str, *, extended: bool, smtputf8: bool, requiretls: bool = False, auth: bool = False) -> Envelope:
    """The argument of MAIL. extended: EHLO was said; smtputf8, requiretls, auth: we announce it."""
    match = _MAIL.fullmatch(text)
    if match is None:
        raise BadCommand(replies.MAIL_SYNTAX)
    path, parameters = match[1], match[2]
    envelope = Envelope("", "")
    if parameters:
        if not extended:
            raise BadCommand(replies.NOT_AFTER_HELO)
        for name, value in _parameters(parameters).items():
            if name == "REQUIRETLS" and requiretls:
                if value:
                    raise BadCommand(Reply(501, "5.5.4 REQUIRETLS takes no value"))
                envelope.requiretls = True
            elif name == "AUTH" and auth:
                # Whom others say they have authenticated is nothing to us, as RFC 4954 5 allows.
                if not value or not _XTEXT.fullmatch(value):
                    raise BadCommand(Reply(501, "5.5.4 AUTH takes a mailbox in xtext, or <>"))
            else:
                _mail_parameter(envelope, name, value, smtputf8)
    if path:
        envelope.sender, envelope.domain = _mailbox(path, envelope.smtputf8, "5.1.7")
    return envelope


def parse_rcpt(text: str, *, extended: bool, smtputf8: bool, hostname: str) -> Recipient:
    """The argument of RCPT. smtputf8: MAIL asked for it. hostname: where a bare <Postmaster> belongs (5321 4.5.1)."""
    match = _RCPT.fullmatch(text)
    if match is None:
        raise BadCommand(replies.RCPT_SYNTAX)
    path, parameters = match[1], match[2]
    if path.lower() == "postmaster":
        path = f"{path}@{hostname}"
    recipient = Recipient(*_mailbox(path, smtputf8, "5.1.3"))
    if parameters:
        if not extended:
            raise BadCommand(replies.NOT_AFTER_HELO)
        for name, value in _parameters(parameters).items():
            if name == "NOTIFY":
                recipient.notify = _notify(value)
            elif name == "ORCPT":
                recipient.orcpt = _orcpt(value, smtputf8)
            else:
                raise BadCommand(_unknown(name))
    return recipient


def parse_bdat(text: str) -> Chunk:
    match = _BDAT.fullmatch(text)
    if match is None:
        raise BadCommand(replies.BDAT_SYNTAX)
    return Chunk(int(match[1]), match[2] is not None)


def _mailbox(path: str, utf8: bool, enhanced: str) -> tuple[str, str]:
    """The address of a path and its routing domain. A source route is left out (RFC 5321 4.1.1.3)."""
    if path.startswith("@"):
        route = _SOURCE_ROUTE.match(path)
        if route is not None:
            path = path[route.end() :]
    if not utf8 and not path.isascii():
        raise BadCommand(replies.NEEDS_SMTPUTF8)
    try:
        return path, parse_mailbox(path).routing
    except AddressError as error:
        raise BadCommand(Reply(501, f"{enhanced} Bad address: {error}")) from None


def _parameters(text: str) -> dict[str, str]:
    """KEYWORD or KEYWORD=value, parted by spaces; the keyword in capitals, "" where there is no value."""
    found: dict[str, str] = {}
    for word in text.split(" "):
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise BadCommand(Reply(501, f"5.5.4 Malformed parameter {_shown(word)}"))
        name = match[1].upper()
        if name in found:
            raise BadCommand(Reply(501, f"5.5.4 {_shown(name)} stands twice"))
        found[name] = match[2] or ""
    return found


def _mail_parameter(envelope: Envelope, name: str, value: str, smtputf8: bool) -> None:
    if name == "SIZE":
        if not _SIZE.fullmatch(value):
            raise BadCommand(Reply(501, "5.5.4 SIZE takes a number of octets"))
        envelope.size = int(value)
    elif name == "BODY":
        if value.upper() not in ("7BIT", "8BITMIME"):
            raise BadCommand(Reply(501, "5.5.4 BODY takes 7BIT or 8BITMIME"))
        envelope.eight_bit = value.upper() == "8BITMIME"
    elif name == "SMTPUTF8" and smtputf8:
        if value:
            raise BadCommand(Reply(501, "5.5.4 SMTPUTF8 takes no value"))
        envelope.smtputf8 = True
    elif name == "RET":
        if value.upper() not in ("FULL", "HDRS"):
            raise BadCommand(Reply(501, "5.5.4 RET takes FULL or HDRS"))
        envelope.ret = Ret.FULL if value.upper() == "FULL" else Ret.HEADERS
    elif name == "ENVID":
        if not value or len(value) > MAX_ENVID or not _XTEXT.fullmatch(value):
            raise BadCommand(Reply(501, f"5.5.4 ENVID takes up to {MAX_ENVID} characters of xtext"))
        envelope.envid = value
    else:
        raise BadCommand(_unknown(name))


_NOTIFY = {"SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}


def _notify(value: str) -> Notify:
    words = value.upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    wanted = Notify.UNSET
    for word in words:
        if word not in _NOTIFY:
            raise BadCommand(Reply(501, "5.5.4 NOTIFY takes NEVER, or some of SUCCESS,FAILURE,DELAY"))
        wanted |= _NOTIFY[word]
    return wanted


def _orcpt(value: str, smtputf8: bool) -> str:
    kind, parted, address = value.partition(";")
    pattern = _UNITEXT if smtputf8 and kind.lower() == "utf-8" else _XTEXT
    well_formed = parted and address and re.fullmatch(r"[A-Za-z0-9-]+", kind) and pattern.fullmatch(address)
    if not well_formed or len(value.encode()) > MAX_ORCPT:
        raise BadCommand(Reply(501, f"5.5.4 ORCPT takes type;xtext, up to {MAX_ORCPT} octets"))
    return value


def _unknown(name: str) -> Reply:
    return Reply(555, f"5.5.4 Parameter {_shown(name)} not recognised")


def _shown(text: str) -> str:
    """What a client wrote, short enough to be said back."""
    return text if len(text) <= 40 else text[:40] + "..."
