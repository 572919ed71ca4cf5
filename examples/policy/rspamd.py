"""Spam check with rspamd over HTTP (its worker "normal", /checkv2): refuse, put off, or mark by what it says to do.

[[policy]]
file = "rspamd.py"
time_limit = "20s"
on_error = "continue"               # while rspamd is away, mail is taken unchecked
options = { host = "127.0.0.1", port = 11333 }
"""

import asyncio

import msgspec

from postroad.policy import Incoming, Kit, Reject, Tempfail

MAX_ANSWER = 1024 * 1024


class Options(msgspec.Struct, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 11333
    password: str = ""


class Answer(msgspec.Struct):
    """What we need of it. subject: only where the action is to rewrite it."""

    action: str
    score: float
    required_score: float = 15
    subject: str = ""


class Policy:
    def __init__(self, kit: Kit) -> None:
        self._options: Options = kit.options

    async def message(self, facts: Incoming) -> Reject | Tempfail | None:
        told = await self._ask(facts)
        facts.context["spam_action"], facts.context["spam_score"] = told.action, f"{told.score:.2f}"
        # Nobody outside may say for us that mail is clean.
        for name in ("X-Spam", "X-Spam-Score"):
            facts.content.remove(name)
        match told.action:
            case "reject":
                return Reject("5.7.1 this message looks like spam", 554)
            case "soft reject" | "greylist":
                return Tempfail("4.7.1 try again later", 451)
            case "rewrite subject":
                facts.content.set("Subject", told.subject or f"*** SPAM *** {facts.content.get('Subject') or ''}")
            case "add header":
                facts.content.add("X-Spam", "Yes")
        facts.content.add("X-Spam-Score", f"{told.score:.2f} / {told.required_score:.2f}")
        return None

    async def _ask(self, facts: Incoming) -> Answer:
        options, session = self._options, facts.session
        about = [("IP", session.peer), ("Helo", session.helo), ("From", facts.sender), ("User", session.user)]
        about += [("Rcpt", recipient) for recipient in facts.recipients]
        about += [("Password", options.password)]
        octets = facts.content.octets
        head = [
            "POST /checkv2 HTTP/1.1",
            f"Host: {options.host}",
            "Connection: close",
            f"Content-Length: {len(octets)}",
            *(f"{name}: {_harmless(value)}" for name, value in about if value),
        ]
        reader, writer = await asyncio.open_connection(options.host, options.port, limit=MAX_ANSWER)
        try:
            writer.write("\r\n".join([*head, "", ""]).encode() + octets)
            await writer.drain()
            answer = await _answer(reader)
        finally:
            writer.close()
        return msgspec.json.decode(answer, type=Answer)


def _harmless(value: str) -> str:
    """What a stranger wrote, as the value of a header field of HTTP."""
    return "".join(c for c in value if c.isprintable())


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The content of an answer, whose length is told (rspamd tells it). Raises RuntimeError for another."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    if head[0].split(" ")[1:2] != ["200"]:
        raise RuntimeError(f"rspamd says {head[0][:100]!r}")
    lengths = [line.partition(":")[2] for line in head if line.lower().startswith("content-length:")]
    if not lengths or int(lengths[0]) > MAX_ANSWER:
        raise RuntimeError("rspamd's answer has no length, or too much of it")
    return await reader.readexactly(int(lengths[0]))
