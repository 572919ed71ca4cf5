"""The router: which engine keeps a message. It stands in front of the queue where there are several engines.

A message for a domain of another engine is handed over before it is acknowledged. An engine that is not there, or does
not want it, is no reason to refuse it: then we keep and deliver it ourselves (a stray). Limits are exact all the same,
since they are lent to engines whoever owns a domain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from postroad.message import Accepted, Acceptor, Recipient, Refused, Rejection, Reply, Transaction
from postroad.message.together import part
from postroad.serve.owner import Owners

Done = Callable[[Accepted | Refused], None]


# Accepted, Refused, or None: nobody knows.
Sent = Callable[[Accepted | Refused | None], None]


class Sender(Protocol):
    """The way to another engine."""

    @property
    def welcome(self) -> bool:
        """May something be sent now?"""

    def send(self, transaction: Transaction, sent: Sent) -> None:
        """Call it only when `welcome`. sent is called once, on the loop."""


class Home(Acceptor, Protocol):
    """Our own queue."""

    def keep(self, transaction: Transaction, done: Done) -> None:
        """As accept, but nothing is refused for being full or stopping: for mail of our own making."""

    def unfit(self, transaction: Transaction) -> Reply | None:
        """What keeps a recipient of it from being accepted, here as well as elsewhere; None: nothing."""


class Router:
    """Implements the Acceptor seam. number: our own. senders: to the other engines, by number. owners may be replaced
    at any time. handed, strays: messages handed over, and those of others that stayed here, since the start."""

    def __init__(self, home: Home, number: int, owners: Owners, senders: Mapping[int, Sender]) -> None:
        self.owners = owners
        self.handed = 0
        self.strays = 0
        self._home = home
        self._number = number
        self._senders = senders

    def refusal(self) -> Reply | None:
        return self._home.refusal()

    def rejected(self, rejection: Rejection) -> None:
        self._home.rejected(rejection)

    def accept(self, transaction: Transaction, done: Done) -> None:
        refusal = self._home.refusal()
        if refusal is not None:
            done(Refused(refusal))
        else:
            self._route(transaction, done, self._home.accept)

    def keep(self, transaction: Transaction, done: Done) -> None:
        """For mail of our own making: notifications. It is kept somewhere, or refused when no disk takes it."""
        self._route(transaction, done, self._home.keep)

    def _route(self, transaction: Transaction, done: Done, at_home: Callable[[Transaction, Done], None]) -> None:
        recipients = transaction.recipients
        owner = self.owners.of(recipients[0].domain)
        if len(recipients) > 1:
            groups: dict[int, list[int]] = {}
            for at, recipient in enumerate(recipients):
                groups.setdefault(self.owners.of(recipient.domain), []).append(at)
            if len(groups) > 1:
                self._split(transaction, groups, done, at_home)
                return
        self._to(owner, transaction, done, at_home)

    def _to(
        self, owner: int, transaction: Transaction, done: Done, at_home: Callable[[Transaction, Done], None]
    ) -> None:
        if owner == self._number:
            at_home(transaction, done)
            return
        count = len(transaction.recipients)
        sender = self._senders.get(owner)
        if sender is None or not sender.welcome:
            self.strays += count
            at_home(transaction, done)
            return

        def sent(result: Accepted | Refused | None) -> None:
            if isinstance(result, Accepted):
                self.handed += count
                done(result)
                return
            self.strays += count
            if result is None:
                # It may be kept over there as well, so here it must be another message.
                at_home(part(transaction, transaction.recipients, 0), done)
            else:
                at_home(transaction, done)

        sender.send(transaction, sent)

    def _split(
        self,
        transaction: Transaction,
        groups: Mapping[int, list[int]],
        done: Done,
        at_home: Callable[[Transaction, Done], None],
    ) -> None:
        """Part goes here, part there; done when all of it is kept."""
        unfit = self._home.unfit(transaction)
        if unfit is not None:
            done(Refused(unfit))  # the whole, as one engine would
            return
        parts = _Parts(len(transaction.recipients), len(groups), done)
        for owner, places in groups.items():
            recipients: list[Recipient] = [transaction.recipients[at] for at in places]
            number = transaction.id if places[0] == 0 else 0
            self._to(owner, part(transaction, recipients, number), parts.done(places), at_home)


class _Parts:
    """What became of the parts of a transaction."""

    def __init__(self, recipients: int, parts: int, done: Done) -> None:
        self._ids = [0] * recipients
        self._left = parts
        self._refused: Refused | None = None
        self._done = done

    def done(self, places: list[int]) -> Done:
        """places: where in the transaction the recipients of this part stand."""

        def done(result: Accepted | Refused) -> None:
            if isinstance(result, Refused):
                # Another part may be kept already; its client will send that twice. This takes an owner that is away
                # and a disk of our own that fails between our welcome and the commit, both at once.
                self._refused = result
            else:
                for at, number in zip(places, result.ids, strict=True):
                    self._ids[at] = number
            self._left -= 1
            if not self._left:
                self._done(self._refused or Accepted(self._ids))

        return done
