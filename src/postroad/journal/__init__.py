"""4 Keep: the append-only log of mail and events.

Every accepted message, and everything that happens to it, is appended to one log per engine. The queues are a fold of
that log, the event hose is its tail. docs/reference/journal-format.md describes the files.
"""

from postroad.journal.commit import Committer, Injection, InlineCommitter, ThreadCommitter
from postroad.journal.disk import Disk, File, Lock, OsDisk
from postroad.journal.errors import JournalDamaged, JournalError, JournalFull, JournalLocked
from postroad.journal.folders import beside, journal_folder, journal_folders
from postroad.journal.journal import Journal, JournalStats
from postroad.journal.proof import Audit, JobCount, audit, audit_all
from postroad.journal.reader import EventReader
from postroad.journal.records import (
    ACCEPTED,
    HOMED,
    JOB,
    JOB_MARK,
    JOB_SLICE,
    MAX_JOB,
    STATE,
    TERMINAL,
    Damage,
    Event,
    HoseEvent,
    LiveMail,
    LiveRecipient,
    Mail,
    Progress,
    Rewrite,
    StoredMail,
    pack_place,
    split_place,
)
from postroad.journal.tools import Check, Compacted, Dumped, Stat, StreamStat, check, compact, dump, stat

__all__ = [
    "ACCEPTED",
    "HOMED",
    "JOB",
    "JOB_MARK",
    "JOB_SLICE",
    "MAX_JOB",
    "STATE",
    "TERMINAL",
    "Audit",
    "Check",
    "Committer",
    "Compacted",
    "Damage",
    "Disk",
    "Dumped",
    "Event",
    "EventReader",
    "File",
    "HoseEvent",
    "Injection",
    "InlineCommitter",
    "JobCount",
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
    "Progress",
    "Rewrite",
    "Stat",
    "StoredMail",
    "StreamStat",
    "ThreadCommitter",
    "audit",
    "audit_all",
    "beside",
    "check",
    "compact",
    "dump",
    "journal_folder",
    "journal_folders",
    "pack_place",
    "split_place",
    "stat",
]
