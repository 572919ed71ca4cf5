"""One transmission on its way: from a checked request to the Transactions that are handed to the Acceptor.

Nothing here waits or knows of time. The caller asks for recipients and transactions in small portions and may do other
work between them, so that a large transmission does not hold up the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from postroad.generate import BuildError, Draft, Filling, Letter, Site, Wishes, carried, trackers
from postroad.generate.template import Kind, Template, TemplateRenderError, namespace
from postroad.inject.http.checks import check_limits, check_options, check_recipients
from postroad.inject.http.decode import Decoded
from postroad.inject.http.entry import Entry, read_entry
from postroad.inject.http.faults import Code, Failure, Fault, Faults, fault
from postroad.inject.http.kept import Named
from postroad.inject.http.shapes import (
    MAX_TAGS,
    InlineRecipient,
    Options,
    Override,
    StoredList,
    Tracking,
    TransmissionContent,
)
from postroad.inject.http.source import find_source
from postroad.inject.http.stock import Nothing, Stock
from postroad.inject.unwanted import SUPPRESSED, list_token
from postroad.message import PRIORITY, Body, Context, IdSource, Recipient, Transaction
from postroad.message.links import About
from postroad.message.trace import date_field, message_id_field
from postroad.policy import GROUP

RECIPIENTS_A_TRANSACTION = 100
MAX_TOLD = 50  # rejected recipients told in a refusal of the whole request
_NOTHING = Nothing()


class Setting(NamedTuple):
    """What a mailing needs to know of the server. boundary: as for generate.draft. max_content: octets of a message.
    is_pool(name): is there such a group of bindings? max_ahead: seconds that start_time may be ahead. stock: what a
    request may name."""

    hostname: str
    ids: IdSource
    boundary: Callable[[], str]
    max_content: int
    max_recipients: int
    is_pool: Callable[[str], bool] = lambda name: False
    max_ahead: float = 0.0
    stock: Stock = _NOTHING


class _Group(NamedTuple):
    """Recipients whose copies are equal, octet for octet."""

    to: bytes
    sender: str
    smtputf8: bool


class Unmade(NamedTuple):
    """A recipient whose message is not made. place: in the list. transaction: what the event tells of it, without a
    body. text: of a 554 reply, as `5.3.3 ...`. suppressed: it is not wanted; else it could not be made."""

    place: int
    transaction: Transaction
    text: str
    suppressed: bool = False


class Mailing:
    """The recipients of one transmission and the messages for them.

    id: decimal digits. start: Unix seconds before which nothing is to be sent, 0: now. total: entries of the list. Of
    those read so far, `accepted` are good and `faults` has an entry for each of the others. unmade: recipients among
    the good whose messages transactions() could not make, or may not. named: what of others it is made with.
    """

    def __init__(
        self,
        request: Decoded,
        setting: Setting,
        wall: float,
        connection: Context | None = None,
        number: int = 0,
        subaccount: int = 0,
    ) -> None:
        """wall: Unix seconds. connection: context of the HTTP connection. number: of the transmission, where it was
        accepted already: then only what it can't be made without is looked for. Raises Failure when the request as a
        whole is refused."""
        transmission = request.transmission
        faults = Faults()
        options = transmission.options or Options()
        stock = setting.stock
        check_limits(transmission, faults)
        self.start = check_options(options, wall, setting.max_ahead, setting.is_pool, faults)
        entries = check_recipients(
            transmission, lambda name: stock.recipients(subaccount, name), setting.max_recipients, faults
        )
        if number:
            # Limits, pools and tracking domains may have changed since; it goes on without those that are gone.
            faults = Faults()
        source = find_source(transmission, stock, subaccount, entries, setting.boundary, faults)
        site: Site | None = None
        if transmission.tracking_domain:
            site = stock.tracking_domain(subaccount, transmission.tracking_domain)
            if site is None and not number:
                name = transmission.tracking_domain[:255]
                faults.add(Code.INVALID_PARAMS, f"tracking_domain '{name}' does not exist")
        if source is not None and options.dkim_key is not None:
            domain = source.content.sender.rpartition("@")[2]
            faults.add(
                Code.PERMISSION_DENIED, f"Invalid DKIM key ID '{options.dkim_key[:64]}' for sending domain '{domain}'"
            )
        faults.stop()
        assert source is not None
        if len(source.content) > setting.max_content and not number:
            raise Failure(Code.TOO_LARGE, f"the message is larger than {setting.max_content} bytes")

        self.id = str(number or setting.ids.next())
        self.faults: list[Fault] = []
        self.accepted = 0
        self.total = len(entries)
        self.named = Named(source.stored, entries if isinstance(transmission.recipients, StoredList) else None)
        self.unmade: list[Unmade] = []
        self._entries = entries
        self._read: list[Entry] = []
        self._bad = request.bad
        self._content = source.content
        self._addressed = isinstance(source.content, Draft)  # a whole message has a To of its own
        self._setting = setting
        self._subaccount = subaccount
        self._named_site = site
        self._wall = wall
        self._date = date_field(wall)
        self._connection = connection
        self._return_path = transmission.return_path or ""
        self._metadata = transmission.metadata or {}
        self._substitution = transmission.substitution_data or {}
        self._campaign = transmission.campaign_id or ""
        self._list_id = _list_id(
            transmission.override, source.stored.content if source.stored else transmission.content
        )
        self._options = options
        self._template_options = source.options
        self._account = account = stock.account()
        transactional = next(
            (each for each in (options.transactional, source.transactional) if each is not None),
            account.transactional_default,
        )
        self._transactional = transactional
        self._unsubscribe = not transactional or account.transactional_unsub
        pool = options.ip_pool or ""
        self._context: Context = {GROUP: pool} if setting.is_pool(pool) else {}
        if transactional:
            self._context[PRIORITY] = "1"  # somebody waits for it, so it goes ahead of bulk mail
        self._plain_event: dict[str, object] = {"rcpt_meta": self._metadata, "rcpt_tags": []}
        self._tracking = self._wished(options, source.options)
        self._event: dict[str, object] = {
            "transmission_id": self.id,
            "template_id": source.template_id or f"template_{self.id}",
            "template_version": source.version,
            "friendly_from": self._content.sender,
            "subject": self._content.subject,
            **self._tracking,
            "amp_enabled": source.amp,
        }
        if source.ab_test:
            self._event["ab_test_id"] = source.ab_test
        if subaccount:
            self._event["subaccount_id"] = str(subaccount)
        if self._campaign:
            self._event["campaign_id"] = self._campaign
        if pool:
            self._event["ip_pool"] = pool
        if transactional:
            self._event["transactional"] = "1"

    def read(self, start: int, stop: int) -> None:
        """Check the recipients at these places of the list; each is taken or adds to `faults`."""
        for place in range(start, min(stop, self.total)):
            entry = self._entry(place)
            if isinstance(entry, Entry):
                self.accepted += 1
                self._read.append(entry)
            else:
                self.faults.append(entry)

    def portion(self, start: int, stop: int, job: int) -> tuple[list[Transaction], list[Unmade]]:
        """The messages for the recipients at these places of the list, each marked as the job's, and those that could
        not be made. Those that were told to be bad as the request came are in neither."""
        read = (self._entry(place) for place in range(start, min(stop, self.total)))
        unmade: list[Unmade] = []
        return list(self._made([entry for entry in read if isinstance(entry, Entry)], unmade, job)), unmade

    def require_recipient(self) -> None:
        """Raises Failure when all recipients were bad."""
        if not self.accepted:
            raise Failure(Code.NO_RECIPIENT, faults=[fault(Code.NO_RECIPIENT), *self.faults[:MAX_TOLD]])

    def transactions(self) -> Iterator[Transaction]:
        """One transaction for recipients with equal copies, at most RECIPIENTS_A_TRANSACTION; each is built when asked
        for. An accepted recipient is in exactly one of them, or in `unmade`."""
        yield from self._made(self._read, self.unmade)

    def snippet(self, identifier: str, kind: Kind) -> Template | None:
        return self._setting.stock.snippet(self._subaccount, identifier, kind)

    def _entry(self, place: int) -> Entry | Fault:
        return self._bad.get(place) or read_entry(place, self._entries[place], to=self._addressed)

    def _made(self, entries: list[Entry], unmade: list[Unmade], job: int = 0) -> Iterator[Transaction]:
        groups: dict[_Group, list[Recipient]] = {}
        alike = self._content.shared and self._site(self._content.sender) is None
        for entry in entries:
            recipient = Recipient(
                entry.email,
                entry.domain,
                event=self._plain_event if entry.plain else self._own_event(entry.shape),
                job=(job, entry.place) if job else None,
            )
            if self._unwanted(entry):
                unmade.append(Unmade(entry.place, self._transaction("", [recipient], None), SUPPRESSED, True))
            elif alike:
                sender = entry.sender or self._return_path or self._content.sender
                utf8 = not (entry.email.isascii() and sender.isascii() and entry.to.isascii())
                groups.setdefault(_Group(entry.to, sender, utf8), []).append(recipient)
            else:
                made = self._own(entry, recipient)
                if isinstance(made, Unmade):
                    unmade.append(made)
                else:
                    yield made
        for group, recipients in groups.items():
            # Copies of one message to several recipients have one Message-ID, so that readers see them as one.
            letter = self._content.letter(self._filling(group.to, self._setting.ids.next()))
            body = Body(letter.content, letter.trace)
            for start in range(0, len(recipients), RECIPIENTS_A_TRANSACTION):
                some = recipients[start : start + RECIPIENTS_A_TRANSACTION]
                yield self._transaction(group.sender, some, body, utf8=group.smtputf8 or letter.smtputf8)

    def _unwanted(self, entry: Entry) -> bool:
        return not self._options.skip_suppression and self._setting.stock.suppressed(
            self._subaccount,
            entry.email,
            transactional=self._transactional,
            now=self._wall,
            list_id=self._list_id,
        )

    def _own(self, entry: Entry, recipient: Recipient) -> Transaction | Unmade:
        """The message of one recipient."""
        number = self._setting.ids.next()
        shape = entry.shape
        sender = entry.sender or self._return_path or self._content.sender
        data = namespace(
            metadata=self._metadata,
            substitution_data=self._substitution,
            recipient_metadata=shape.metadata or {},
            recipient_substitution_data=shape.substitution_data or {},
            email=entry.email,
            name=entry.name,
            env_from=sender,
        )
        try:
            letter = self._letter(entry, recipient, number, data)
        except (TemplateRenderError, BuildError) as error:
            return self._unmade(entry, recipient, data, f"5.3.3 [internal] {_text(error)}")
        if len(letter.content) > self._setting.max_content:
            return self._unmade(entry, recipient, data, "5.3.4 [internal] the message is larger than allowed")
        sender = sender or letter.sender
        utf8 = letter.smtputf8 or not (entry.email.isascii() and sender.isascii())
        event = self._event
        if not self._content.sender or letter.subject != self._content.subject:
            event = event | {"friendly_from": letter.sender, "subject": letter.subject}
        made = self._transaction(sender, [recipient], Body(letter.content, letter.trace), utf8=utf8)
        made.event, made.id = event, number
        return made

    def _letter(self, entry: Entry, recipient: Recipient, number: int, data: dict[str, object]) -> Letter:
        filling = self._filling(entry.to, number)._replace(data=data, snippets=self)
        # The sending domain decides where links lead, so a From with statements in it is needed first.
        author = self._content.sender or self._content.author(filling)
        site = self._site(author)
        if site is None:
            return self._content.letter(filling)
        wishes = self._wished(entry.shape.options, self._options, self._template_options)
        about = About(
            str(number),
            self.id,
            entry.email,
            int(self._wall),
            self._subaccount,
            str(self._event["template_id"]),
            str(self._event["template_version"]),
            self._campaign,
            author,
            carried((recipient.event or {}).get("rcpt_meta")),
            _tags(entry.shape),
        )
        found = trackers(
            site,
            about,
            Wishes(wishes["click_tracking"], wishes["open_tracking"], wishes["initial_pixel"], self._unsubscribe),
        )
        return self._content.letter(
            filling._replace(track=found.track, top=found.top, bottom=found.bottom, unsubscribe=found.unsubscribe)
        )

    def _site(self, author: str) -> Site | None:
        if self._named_site is not None:
            return self._named_site
        return self._setting.stock.site(self._subaccount, author.rpartition("@")[2])

    def _wished(self, *wishes: Tracking | None) -> dict[str, bool]:
        return self._account.tracking(*wishes, default=self._account.rest_tracking_default)

    def _filling(self, to: bytes, number: int) -> Filling:
        return Filling(to, self._date, message_id_field(str(number), self._setting.hostname))

    def _unmade(self, entry: Entry, recipient: Recipient, data: dict[str, object], text: str) -> Unmade:
        known = {name: value for name, value in data.items() if name not in _BUILT_IN}
        recipient.event = {**(recipient.event or {}), "rcpt_subs": known}
        return Unmade(entry.place, self._transaction("", [recipient], None), text)

    def _transaction(
        self, sender: str, recipients: list[Recipient], body: Body | None, *, utf8: bool = False
    ) -> Transaction:
        return Transaction(
            sender,
            recipients,
            body or Body(b""),
            connection=self._connection,
            context=self._context,
            method="rest",
            smtputf8=utf8,
            event=self._event,
        )

    def _own_event(self, shape: InlineRecipient) -> dict[str, object]:
        event: dict[str, object] = {
            "rcpt_meta": {**self._metadata, **shape.metadata} if shape.metadata else self._metadata,
            "rcpt_tags": _tags(shape),
        }
        if shape.options is not None:
            event |= self._wished(shape.options, self._options, self._template_options)
        return event


def _list_id(override: Override | None, content: TransmissionContent | None) -> str:
    """The list that the message says it is of (api.md 8.6), "" for none."""
    if override is not None and override.list_id:
        return list_token(override.list_id)
    headers = (content.headers if content is not None else None) or {}
    return next((list_token(text) for name, text in headers.items() if text and name.lower() == "list-id"), "")


_BUILT_IN = frozenset({"address", "email", "email_id", "env_from", "return_path"})


def _tags(shape: InlineRecipient) -> list[str]:
    return (shape.tags or [])[:MAX_TAGS]


def _text(error: TemplateRenderError | BuildError) -> str:
    return " ".join(str(error).split())
