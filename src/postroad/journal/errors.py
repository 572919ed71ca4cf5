"""What can go wrong with a journal. Each message says what, where and, when it is known, why."""


class JournalError(Exception):
    """Something could not be kept or read."""


class JournalFull(JournalError):
    """There is no room: on the disk, or in memory for events that a broken disk keeps waiting."""


class JournalLocked(JournalError):
    """Another process works with this journal."""


class JournalDamaged(JournalError):
    """A record, or a file, is not as it was written."""
