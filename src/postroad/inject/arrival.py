"""The part of the protocol machine that takes the content of a message: DATA and BDAT (RFC 5321 4.1.1.4, RFC 3030)."""

from __future__ import annotations

from postroad.inject import commands, replies
from postroad.inject.commands import BadCommand, Chunk
from postroad.inject.content import ChunkReader, DotReader, inspect
from postroad.inject.events import Content, Data, Refusal
from postroad.inject.replies import encode
from postroad.inject.tables import CHUNK_READ, CONTENT_READ, TABLE
from postroad.inject.talk import Talk
from postroad.message import Reply

_SEND_CONTENT = encode(replies.SEND_CONTENT)


class Arrival(Talk):
    """From DATA or the first BDAT to the verdict on the whole message."""

    __slots__ = ()

    def _begin(self, asked: Data, reply: Reply | None) -> None:
        if reply is not None and reply.code >= 400:
            # Were the transaction left open, a later BDAT could begin the message in its middle.
            self._reset(TABLE[self.state]["RSET"])
            self._excused = True
            # Before a 421 nothing is waited for.
            self._swallow_chunk(asked.chunk if asked.chunk > 0 and reply.code != 421 else 0, reply)
        elif asked.chunk >= 0:
            self._read_chunk(asked.chunk, asked.last)
        else:
            self._out += _SEND_CONTENT
            self._reader = DotReader(self.options.max_message_size)
            self.state = TABLE[self.state]["DATA"]

    def _conclude(self, asked: Content, reply: Reply | None) -> None:
        self._repeat(reply or replies.OK)
        self._reset(TABLE[self.state][CONTENT_READ])
        if reply is None or reply.code < 400:
            self._errors = 0
            self._idling = 0
            self._say(reply or replies.OK)
        else:
            self._refuse(reply)

    def _repeat(self, reply: Reply) -> None:
        """LMTP has a reply a recipient (RFC 2033 4.2): all but the last. A 421 ends the session and is said once."""
        if self.offer.lmtp and reply.code != 421:
            for _ in self._open_envelope().recipients[1:]:
                self._say(reply)

    def _read_content(self) -> bool:
        """What is here of the content. False: more octets are wanted."""
        reader = self._reader
        assert reader is not None
        self._incoming.pour(reader)
        if not reader.finished:
            return False
        self._content_read(reader)
        return True

    def _content_read(self, reader: DotReader | ChunkReader) -> None:
        """The content, or one chunk of it, is all here."""
        if isinstance(reader, ChunkReader) and reader.fault is None and not reader.last:
            self._say(Reply(250, f"2.0.0 {reader.octets} octets"))
            self.state = TABLE[self.state][CHUNK_READ]
        else:
            self._judge(reader)

    def _judge(self, reader: DotReader | ChunkReader) -> None:
        """The content has been read to its end, or is beyond hope before it: hand it on or refuse it."""
        envelope = self._open_envelope()
        self._messages += 1
        self._reader = None
        result = reader.result()
        if not isinstance(result, Reply):
            content, dotted = result
            body_start = inspect(content, self.options, self.hostname)
            if not isinstance(body_start, Reply):
                self._ask(Content(envelope, content, dotted, body_start))
                return
            result = body_start
        self._event = Refusal(envelope, result)
        self._repeat(result)
        self._reset(TABLE[self.state][CONTENT_READ])
        self._excused = True
        self._refuse(result)

    def _parse_bdat(self, argument: str) -> Chunk | None:
        try:
            return commands.parse_bdat(argument)
        except BadCommand as refused:
            # How many octets follow is unknown, and to take them for commands would be to obey a message.
            self.end(refused.reply)
            return None

    def _read_chunk(self, octets: int, last: bool) -> None:
        if not isinstance(self._reader, ChunkReader):
            self._reader = ChunkReader(self.options.max_message_size)
        self._reader.expect(octets, last)
        self.state = TABLE[self.state]["BDAT"]
        if not octets:
            self._content_read(self._reader)

    def _swallow_chunk(self, octets: int, reply: Reply) -> None:
        """A BDAT is refused: say so when its octets have gone by."""
        if octets:
            self._incoming.swallow(octets)
            self._swallow_reply = reply
        else:
            self._refuse_misplaced(reply)
