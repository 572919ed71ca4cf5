"""Facts as events remember them: what an event does not know is noted when a hook looks at it, and reads as empty.

Nothing raises here: CEL and plug-ins may swallow an exception, but not the note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, cast

from postroad.message import Context
from postroad.message.mime import Part
from postroad.policy.content import Content, ContentError
from postroad.policy.facts import Session

# By which name a look at the unknown is noted.
Unknown = set[str]


class _Context(MutableMapping[str, str]):
    """Of a context only what hooks of this replay wrote is known."""

    def __init__(self, name: str, unknown: Unknown) -> None:
        self.written: Context = {}
        self._name = name
        self._unknown = unknown

    def __getitem__(self, key: str) -> str:
        if key not in self.written:
            self._unknown.add(self._name)
        return self.written[key]

    def __contains__(self, key: object) -> bool:
        if key not in self.written:
            self._unknown.add(self._name)
        return key in self.written

    def __setitem__(self, key: str, value: str) -> None:
        self.written[key] = value

    def __delitem__(self, key: str) -> None:
        self._unknown.add(self._name)
        self.written.pop(key, None)

    def __iter__(self) -> Iterator[str]:
        self._unknown.add(self._name)
        return iter(self.written)

    def __len__(self) -> int:
        self._unknown.add(self._name)
        return len(self.written)


class _Session:
    """In the place of a Session: members that are not known are noted, and empty."""

    def __init__(self, known: Mapping[str, str], context: _Context, unknown: Unknown) -> None:
        self._known = dict(known)
        self._unknown = unknown
        self.context = context

    def __getattr__(self, name: str) -> str:
        if name.startswith("_") or name not in Session.__dataclass_fields__:
            raise AttributeError(name)
        if name not in self._known:
            self._unknown.add(f"session.{name}")
        return self._known.get(name, "")


class _Content(Content):
    """Of a message whose octets are gone: its subject and size, where the event has them. It can be edited like any
    other; what is read back is only what was written."""

    def __init__(self, subject: str | None, size: int | None, unknown: Unknown) -> None:
        super().__init__(b"\r\n")
        self._unknown = unknown
        self._size = size
        self._known: set[str] = set()
        if subject is not None:
            try:
                self.set("Subject", subject)
            except ContentError:
                self._known.discard("subject")
        self.changed = False

    def _look(self, name: str = "") -> None:
        if not name:
            self._unknown.add("content")
        elif name.lower() not in self._known:
            self._unknown.add(f"header {name}")

    def __len__(self) -> int:
        if self._size is None:
            self._unknown.add("size")
        return self._size or 0

    @property
    def octets(self) -> bytes:
        self._look()
        return super().octets

    def get(self, name: str) -> str | None:
        self._look(name)
        return super().get(name)

    def get_all(self, name: str) -> list[str]:
        self._look(name)
        return super().get_all(name)

    def raw(self, name: str) -> list[bytes]:
        self._look(name)
        return super().raw(name)

    def count(self, name: str) -> int:
        self._look(name)
        return super().count(name)

    def names(self) -> list[str]:
        self._look()
        return super().names()

    def set(self, name: str, value: str) -> None:
        super().set(name, value)
        self._known.add(name.lower())

    def remove(self, name: str) -> int:
        """How many there were is not known, but hardly anyone asks: to note it would pass over all who take one out."""
        self.changed = True
        self._known.add(name.lower())
        return super().remove(name)

    @property
    def body(self) -> bytes:
        self._look()
        return super().body

    @property
    def mime(self) -> Part:
        self._look()
        return super().mime


class Remembered:
    """One event: its facts, made anew for each policy that is asked. unknown: what the last hook looked at in vain."""

    def __init__(self, event: Mapping[str, Any], listener: str, unknown: Unknown) -> None:
        known = {"peer": str(event["remote_addr"])} if event.get("remote_addr") else {}
        self.method = str(event.get("recv_method", "esmtp"))
        if self.method == "rest":
            known["listener"] = "http"
        elif listener:
            known["listener"] = listener
        self.listener = known.get("listener", "")
        self.peer_is_known = "peer" in known
        self.sender = str(event.get("msg_from", ""))
        self.recipient = str(event.get("raw_rcpt_to", ""))
        self.domain = str(event.get("routing_domain") or event.get("recipient_domain", ""))
        self.connection = _Context("connection context", unknown)
        self.context = _Context("message context", unknown)
        self.session = cast(Session, _Session(known, self.connection, unknown))
        size = event.get("msg_size")
        subject = event.get("subject")
        self.content: Content = _Content(
            None if subject is None else str(subject), None if size is None else int(size), unknown
        )
