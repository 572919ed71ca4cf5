"""Every reply the SMTP server gives of its own: code, enhanced code (RFC 3463, 2034) and text, each named once.

Greeting, 354 and all replies to EHLO and HELO carry no enhanced code (RFC 2034 4); everything else does.
"""

from __future__ import annotations

import re
from functools import lru_cache

from postroad.message import Reply

MAX_REPLY_LINE = 512  # octets with CRLF, RFC 5321 4.5.3.1.5

SEND_CONTENT = Reply(354, "Send the message, end it with <CRLF>.<CRLF>")
BYE = Reply(221, "2.0.0 Bye")
HELP = Reply(214, "2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT")
OK = Reply(250, "2.0.0 Ok")
SENDER_OK = Reply(250, "2.1.0 Sender ok")
RECIPIENT_OK = Reply(250, "2.1.5 Recipient ok")
CANNOT_VERIFY = Reply(252, "2.5.0 Cannot verify the user; send a message and see")

# The session ends with these.
SHUTTING_DOWN = Reply(421, "4.3.2 Service is shutting down, please come back")
TOO_SLOW = Reply(421, "4.4.2 Nothing came for too long")
MESSAGE_TOO_SLOW = Reply(421, "4.4.2 The message took too long to arrive")
TOO_MANY_SESSIONS = Reply(421, "4.4.5 Too many sessions, please come back later")
TOO_MANY_SESSIONS_FROM_YOU = Reply(421, "4.7.0 Too many sessions from your network")
TOO_MANY_ERRORS = Reply(421, "4.7.0 Too many errors")
TOO_MANY_MESSAGES = Reply(421, "4.7.0 Enough messages in one session, please open a new one")
NOT_SMTP = Reply(421, "4.7.0 This is an SMTP server")
NO_ACCESS = Reply(554, "5.7.1 Your network has no access")

# What was said is not SMTP, or not now.
UNKNOWN_COMMAND = Reply(500, "5.5.1 Command not recognised")
LINE_TOO_LONG = Reply(500, "5.5.2 Command line too long")
BAD_CHARACTERS = Reply(500, "5.5.2 Control character or invalid UTF-8 in the command line")
NOT_IMPLEMENTED = Reply(502, "5.5.1 Command not implemented")
EHLO_SYNTAX = Reply(501, "Syntax: EHLO hostname, or an address literal")
NO_ARGUMENT = Reply(501, "5.5.4 This command takes no argument")
ARGUMENT_WANTED = Reply(501, "5.5.4 Syntax: VRFY address")
MAIL_SYNTAX = Reply(501, "5.5.4 Syntax: MAIL FROM:<address> [parameters]")
RCPT_SYNTAX = Reply(501, "5.5.4 Syntax: RCPT TO:<address> [parameters]")
BDAT_SYNTAX = Reply(501, "5.5.4 Syntax: BDAT octets [LAST]")
NOT_AFTER_HELO = Reply(555, "5.5.4 Parameters need EHLO")
EHLO_FIRST = Reply(503, "5.5.1 EHLO or HELO first")
MAIL_FIRST = Reply(503, "5.5.1 MAIL first")
RCPT_FIRST = Reply(554, "5.5.1 No valid recipients")
MAIL_TWICE = Reply(503, "5.5.1 A transaction is open already; RSET ends it")
CHUNKS_OPEN = Reply(503, "5.5.1 The message comes by BDAT; only BDAT or RSET can follow")

# The envelope.
NEEDS_SMTPUTF8 = Reply(553, "5.6.7 The address needs SMTPUTF8")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3 Too many recipients")
NO_RELAY = Reply(550, "5.7.1 Relaying denied")

# The content.
TOO_BIG = Reply(552, "5.3.4 The message is too big")
BARE_LINE_END = Reply(550, "5.6.0 Bare CR or LF in the message; lines end in CRLF")
NUL = Reply(550, "5.6.0 NUL in the message")
LINE_OF_CONTENT_TOO_LONG = Reply(554, "5.6.0 A line of the message is too long")
HEADER_TOO_BIG = Reply(554, "5.6.0 The header section is too big")
TOO_MANY_HOPS = Reply(554, "5.4.6 Too many hops: the message seems to loop")
OUR_LOOP = Reply(554, "5.4.6 The message was here too often: it loops")
MEMORY_SHORT = Reply(452, "4.3.1 Too many messages are arriving at once")

_BREAKS = re.compile(r"[\x00-\x1f\x7f]+")


def encode(reply: Reply) -> bytes:
    """The reply's lines as they go over the wire. " / " parts lines; each repeats the enhanced code (RFC 2034 4).

    The text may come from a hook or a peer, so nothing in it can start a line of its own or leave ASCII.
    """
    text = reply.text
    if len(text) < MAX_REPLY_LINE - 5 and text.isascii() and text.isprintable() and " / " not in text:
        return f"{reply.code:03d} {text}\r\n".encode()
    return _encode_lines(reply)


def _encode_lines(reply: Reply) -> bytes:
    text = _BREAKS.sub(" ", reply.text).strip()
    code, enhanced = f"{reply.code:03d}", ""
    match = re.match(r"([245]\.\d{1,3}\.\d{1,3}) +", text)
    if match is not None:
        enhanced, text = match[1] + " ", text[match.end() :]
    room = MAX_REPLY_LINE - len(code) - 1 - len(enhanced) - 2
    lines = [line.encode("ascii", "replace")[:room] for line in text.split(" / ")]
    head = enhanced.encode()
    out = [code.encode() + b"-" + head + line + b"\r\n" for line in lines[:-1]]
    out.append(code.encode() + b" " + head + lines[-1] + b"\r\n")
    return b"".join(out)


@lru_cache(maxsize=64)
def hello_reply(hostname: str, extended: bool, max_size: int, smtputf8: bool) -> bytes:
    """The reply to EHLO or HELO: what we can do (RFC 5321 4.1.1.1)."""
    if not extended:
        return encode(Reply(250, hostname))
    lines = [hostname, "PIPELINING", f"SIZE {max_size}", "8BITMIME"]
    lines += ["SMTPUTF8"] if smtputf8 else []
    lines += ["ENHANCEDSTATUSCODES", "CHUNKING", "DSN"]
    return encode(Reply(250, " / ".join(lines)))
