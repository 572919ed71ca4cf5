"""Recipient verification by SQL: mail to our own domains is taken for addresses that stand in a table only.

    [[policy]]
    file = "verify_recipients.py"
    phases = ["rcpt_to"]
    thread = true                       # a database blocks: each call gets a thread
    on_error = "tempfail"               # while it is away, clients come again
    options = { database = "/srv/mail/users.sqlite", domains = ["example.com"] }

The table: CREATE TABLE mailboxes (address TEXT PRIMARY KEY COLLATE NOCASE, forward TEXT). A `forward` takes the
place of the address.
"""

import sqlite3
import threading

import msgspec

from postroad.policy import Kit, RcptTo, Reject

QUERY = "SELECT forward FROM mailboxes WHERE address = ?"


class Options(msgspec.Struct, forbid_unknown_fields=True):
    database: str
    domains: list[str]


class Policy:
    def __init__(self, kit: Kit) -> None:
        self._options: Options = kit.options
        self._domains = frozenset(domain.lower() for domain in self._options.domains)
        self._of_thread = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def rcpt_to(self, facts: RcptTo) -> Reject | None:
        if facts.domain not in self._domains:
            return None
        # Never put an address into the text of a query: it is what a stranger wrote.
        row = self._connection().execute(QUERY, (facts.recipient,)).fetchone()
        if row is None:
            return Reject("5.1.1 there is no such mailbox", 550)
        if row[0]:
            facts.recipient = row[0]
        return None

    def close(self) -> None:
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()

    def _connection(self) -> sqlite3.Connection:
        """One for each thread, read only."""
        found: sqlite3.Connection | None = getattr(self._of_thread, "connection", None)
        if found is None:
            # Closed by another thread than uses it, when all calls are over.
            name = f"file:{self._options.database}?mode=ro"
            found = self._of_thread.connection = sqlite3.connect(name, uri=True, timeout=2, check_same_thread=False)
            with self._lock:
                self._opened.append(found)
        return found
