"""Messages that break signers and verifiers, and the keys to sign them with."""

from __future__ import annotations

from postroad.auth.dkim import Algorithm, PrivateKey

HEAD = b"From: A <a@example.com>\r\nTo: b@example.net\r\nSubject: hello\r\nDate: Tue, 24 Nov 2026 14:00:00 +0000\r\n"
NOW = 1_795_528_800.0

NASTY: dict[str, bytes] = {
    "plain": HEAD + b"\r\nHello.\r\n",
    "empty body": HEAD + b"\r\n",
    "no blank line": HEAD,
    "only blank lines": HEAD + b"\r\n" + b"\r\n" * 7,
    "blank lines at the end": HEAD + b"\r\nHello.\r\n\r\n\r\n\r\n",
    "very many blank lines": HEAD + b"\r\nHello.\r\n" + b"\r\n" * 70_000,
    "no line end at the end": HEAD + b"\r\nHello.",
    "spaces at line ends": HEAD + b"\r\nHello. \t \r\n \t\r\n  two   three\t\tfour\r\n \r\n",
    "tabs": HEAD + b"\r\n\tHello\tworld\r\n",
    "folded": HEAD
    + b"References: <1@x>\r\n\t<2@x>\r\n  <3@x>  \r\nContent-Type: text/plain;\r\n\tcharset=utf-8\r\n\r\nHi\r\n",
    "odd white space": b"FROM:  a@example.com \t\r\nsubject:\r\nTo:b@example.net\r\n\r\nHi\r\n",
    "8 bit": HEAD.replace(b"hello", "grüße".encode()) + b"\r\n" + "Füße 漢字\r\n".encode() + b"\xff\xfe\r\n",
    "double headers": HEAD + b"Subject: again\r\nTo: c@example.net\r\nCc: d@x\r\nCc: e@x\r\n\r\nHi\r\n",
    "dots": HEAD + b"\r\n.\r\n..\r\n.a\r\n",
    "NUL": HEAD + b"\r\na\0b\r\n",
    "long line": HEAD + b"\r\n" + b"x" * 70_000 + b"\r\n",
    "huge": HEAD + b"\r\n" + b"The quick brown fox  jumps \r\n" * 40_000,
    "many fields": HEAD + b"X-Field: value\r\n" * 3000 + b"\r\nHi\r\n",
    "empty folded line": HEAD + b"References: <1@x>\r\n \r\n <2@x>\r\n\r\nHi\r\n",
}
# Bare line ends are ordinary octets to us; other libraries rewrite them first, and refuse a space before the colon, so
# only we can agree with ourselves.
OURS: dict[str, bytes] = {
    "space before the colon": b"FROM \t:  a@example.com \t\r\nsubject :\r\n\r\nHi\r\n",
    "bare CR": HEAD + b"\r\na\rb\r\n\r\r\n",
    "bare LF": HEAD + b"\r\na\nb\n\n\r\n\n",
    "bare LF in the header": HEAD + b"Cc: x\ny@x\r\n\r\nHi\r\n",
}

ED25519 = PrivateKey.generate("example.com", "ed", Algorithm.ED25519)
RSA = PrivateKey.generate("example.com", "rsa", Algorithm.RSA)
KEYS = [RSA, ED25519]
RECORDS: dict[str, list[bytes] | None] = {key.name: [key.record().encode()] for key in KEYS}
