"""Every reply the SMTP server gives of its own: code, enhanced code (RFC 3463, 2034) and text, each named once.

Greeting, 354 and all replies to EHLO and HELO carry no enhanced code (RFC 2034 4); everything else does.
"""

from __future__ import annotations

import re
from base64 import b64encode

from postroad.message import Reply

# The attributes of XCLIENT that are understood.
ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
MAX_REPLY_LINE = 512  # octets with CRLF, RFC 5321 4.5.3.1.5

SEND_CONTENT = Reply(354, "Send the message, end it with <CRLF>.<CRLF>")
BYE = Reply(221, "2.0.0 Bye")
START_TLS = Reply(220, "2.0.0 Ready to start TLS")
LOGGED_IN = Reply(235, "2.7.0 Authentication successful")
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
SESSION_TOO_LONG = Reply(421, "4.4.2 This session lasts long enough, please open a new one")
TOO_MUCH_IDLING = Reply(421, "4.7.0 Too many commands without a message")
TOO_MANY_ERRORS = Reply(421, "4.7.0 Too many errors")
TOO_MANY_MESSAGES = Reply(421, "4.7.0 Enough messages in one session, please open a new one")
NOT_SMTP = Reply(421, "4.7.0 This is an SMTP server")
BEHIND_STARTTLS = Reply(554, "5.7.0 Nothing may follow STARTTLS before its reply")
PEER_TOO_BUSY = Reply(421, "4.7.0 Too much in too short a time from you, please come back later")
TALKS_EARLY = Reply(554, "5.7.1 You spoke before it was your turn")
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
TRANSACTION_OPEN = Reply(503, "5.5.1 Not while a transaction is open")
CHUNKS_OPEN = Reply(503, "5.5.1 The message comes by BDAT; only BDAT or RSET can follow")

# Trust.
TLS_TWICE = Reply(503, "5.5.1 TLS is up already")
TLS_NOT_NOW = Reply(454, "4.7.0 TLS is not available for a temporary reason")
TLS_FIRST = Reply(530, "5.7.0 Must issue a STARTTLS command first")
LOGIN_FIRST = Reply(530, "5.7.0 Authentication required")
NEEDS_TLS = Reply(538, "5.7.11 Encryption is required for authentication")
AUTH_TWICE = Reply(503, "5.5.1 You are authenticated already")
AUTH_SYNTAX = Reply(501, "5.5.4 Syntax: AUTH mechanism [initial response]")
AUTH_CANCELLED = Reply(501, "5.7.0 Authentication cancelled")
BAD_BASE64 = Reply(501, "5.5.2 Not valid base64")
UNKNOWN_MECHANISM = Reply(504, "5.5.4 Authentication mechanism not offered")
AUTH_FAILED = Reply(535, "5.7.8 Authentication credentials invalid")
AUTH_LATER = Reply(454, "4.7.0 Temporary authentication failure; too many failed before, come back later")
NOT_YOUR_SENDER = Reply(553, "5.7.1 You may not send as this address")
XCLIENT_SYNTAX = Reply(501, "5.5.4 Syntax: XCLIENT attribute=value ...")
XCLIENT_DENIED = Reply(550, "5.7.0 XCLIENT is not for you")
LMTP_WANTED = Reply(500, "5.5.1 This is LMTP: LHLO")
LMTP_RCPT_FIRST = Reply(503, "5.5.1 No valid recipients")

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


def challenge(octets: bytes) -> Reply:
    """What an AUTH exchange says to the client (RFC 4954 4)."""
    return Reply(334, b64encode(octets).decode())


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
