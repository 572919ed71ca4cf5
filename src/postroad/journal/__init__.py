"""4 Keep: the append-only log of mail and events.

Every accepted message, and everything that happens to it, is appended to one log per engine. The queues are a fold of
that log, the event hose is its tail. docs/reference/journal-format.md describes the files.
"""

from postroad.journal.commit import Committer, Injection, InlineCommitter, ThreadCommitter
from postroad.journal.disk import Disk, File, Lock, OsDisk
from postroad.journal.errors import JournalDamaged, JournalError, JournalFull, JournalLocked
from postroad.journal.journal import Journal, JournalStats
from postroad.journal.reader import EventReader
from postroad.journal.records import (
    ACCEPTED,
    STATE,
    TERMINAL,
    Damage,
    Event,
    HoseEvent,
    LiveMail,
    LiveRecipient,
    Mail,
    StoredMail,
    pack_place,
    split_place,
)

__all__ = [
    "ACCEPTED",
    "STATE",
    "TERMINAL",
    "Committer",
    "Damage",
    "Disk",
    "Event",
    "EventReader",
    "File",
    "HoseEvent",
    "Injection",
    "InlineCommitter",
    "Journal",
    "JournalDamaged",
    "JournalError",
    "JournalFull",
    "JournalLocked",
    "JournalStats",
    "LiveMail",
    "LiveRecipient",
    "Lock",
    "Mail",
    "OsDisk",
    "StoredMail",
    "ThreadCommitter",
    "pack_place",
    "split_place",
]
