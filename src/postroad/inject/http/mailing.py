"""One transmission on its way: from a checked request to the Transactions that are handed to the Acceptor.

Nothing here waits or knows of time. The caller asks for recipients and transactions in small portions and may do other
work between them, so that a large transmission does not hold up the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

import msgspec

from postroad.generate import HeaderError, to_field
from postroad.inject.http.content import Prepared, address_problem, prepare
from postroad.inject.http.decode import Decoded
from postroad.inject.http.faults import Code, Failure, Fault, Faults, fault
from postroad.inject.http.shapes import (
    MAX_CAMPAIGN,
    MAX_DESCRIPTION,
    MAX_METADATA,
    MAX_SUBSTITUTION_DATA,
    MAX_TAGS,
    Address,
    InlineRecipient,
    Options,
    StoredList,
    Tracking,
    Transmission,
)
from postroad.message import PRIORITY, Context, IdSource, Recipient, Transaction
from postroad.message.address import AddressError, parse_mailbox
from postroad.message.trace import date_field, message_id_field
from postroad.policy import GROUP

RECIPIENTS_A_TRANSACTION = 100
_POOLS = frozenset({"default", "sp_shared"})  # names for mail that takes what there is
_encode = msgspec.json.Encoder().encode


class Setting(NamedTuple):
    """What a mailing needs to know of the server. boundary: as for generate.draft. max_content: octets of a message.
    is_pool(name): is there such a group of bindings? max_ahead: seconds that start_time may be ahead."""

    hostname: str
    ids: IdSource
    boundary: Callable[[], str]
    max_content: int
    max_recipients: int
    is_pool: Callable[[str], bool] = lambda name: False
    max_ahead: float = 0.0


class _Group(NamedTuple):
    """Recipients whose copies are equal, octet for octet."""

    to: bytes
    sender: str
    smtputf8: bool


class Unmade(NamedTuple):
    """A recipient of a job whose message could not be made. place: in the list. transaction: what the event tells of
    it, without a body."""

    place: int
    transaction: Transaction
    text: str


class Mailing:
    """The recipients of one transmission and the messages for them.

    id: decimal digits. start: Unix seconds before which nothing is to be sent, 0: now. total: entries of the list. Of
    those read so far, `accepted` are good and `faults` has an entry for each of the others.
    """

    def __init__(
        self, request: Decoded, setting: Setting, wall: float, connection: Context | None = None, number: int = 0
    ) -> None:
        """wall: Unix seconds. connection: context of the HTTP connection. number: of the transmission, where it has one
        already. Raises Failure when the request as a whole is refused."""
        transmission = request.transmission
        faults = Faults()
        options = transmission.options or Options()
        _check_limits(transmission, faults)
        self.start = _check_options(options, transmission, wall, setting, faults)
        entries = _check_recipients(transmission, setting.max_recipients, faults)
        content: Prepared | None = None
        if transmission.content is None:
            faults.add(Code.MISSING_FIELD, "content object or template_id required")
        else:
            substitute = options.perform_substitutions is not False
            content = prepare(transmission.content, substitute=substitute, boundary=setting.boundary, faults=faults)
        if content is not None and options.dkim_key is not None:
            domain = content.sender.rpartition("@")[2]
            faults.add(
                Code.PERMISSION_DENIED, f"Invalid DKIM key ID '{options.dkim_key[:64]}' for sending domain '{domain}'"
            )
        faults.stop()
        assert content is not None
        if len(content) > setting.max_content:
            raise Failure(Code.TOO_LARGE, f"the message is larger than {setting.max_content} bytes")

        self.id = str(number or setting.ids.next())
        self.faults: list[Fault] = []
        self.accepted = 0
        self.total = len(entries)
        self._entries = entries
        self._bad = request.bad
        self._content = content
        self._setting = setting
        self._date = date_field(wall)
        self._connection = connection
        self._sender = transmission.return_path or content.sender
        self._metadata = transmission.metadata or {}
        self._options = options
        pool = options.ip_pool or ""
        self._context: Context = {GROUP: pool} if setting.is_pool(pool) else {}
        if options.transactional:
            self._context[PRIORITY] = "1"  # somebody waits for it, so it goes ahead of bulk mail
        self._groups: dict[_Group, list[Recipient]] = {}
        self._plain_event: dict[str, object] = {"rcpt_meta": self._metadata, "rcpt_tags": []}
        self._event: dict[str, object] = {
            "transmission_id": self.id,
            "template_id": f"template_{self.id}",
            "template_version": "0",
            "friendly_from": content.sender,
            "subject": content.subject,
            **_tracking(options),
            "amp_enabled": content.amp,
        }
        if transmission.campaign_id:
            self._event["campaign_id"] = transmission.campaign_id
        if pool:
            self._event["ip_pool"] = pool
        if options.transactional:
            self._event["transactional"] = "1"

    def read(self, start: int, stop: int) -> None:
        """Check the recipients at these places of the list; each joins a group or adds to `faults`."""
        for place in range(start, min(stop, self.total)):
            problem = self._bad.get(place) or self._read_one(self._entries[place])
            if problem is None:
                self.accepted += 1
            else:
                self.faults.append(problem)

    def portion(self, start: int, stop: int, job: int) -> tuple[list[Transaction], list[Unmade]]:
        """The messages for the recipients at these places of the list, each marked as the job's, and those that could
        not be made. Those that were told to be bad as the request came are in neither."""
        self._groups = {}
        for place in range(start, min(stop, self.total)):
            if place not in self._bad:
                self._read_one(self._entries[place], (job, place))
        return list(self.transactions()), []

    def require_recipient(self) -> None:
        """Raises Failure when all recipients were bad."""
        if not self.accepted:
            raise Failure(Code.NO_RECIPIENT, faults=[fault(Code.NO_RECIPIENT), *self.faults[:MAX_TOLD]])

    def transactions(self) -> Iterator[Transaction]:
        """One transaction for recipients with equal copies, at most RECIPIENTS_A_TRANSACTION; each is built when asked
        for. An accepted recipient is in exactly one of them."""
        setting = self._setting
        for group, recipients in self._groups.items():
            # Copies of one message to several recipients have one Message-ID, so that readers see them as one.
            identifier = str(setting.ids.next())
            body = self._content.body(
                to=group.to, date=self._date, message_id=message_id_field(identifier, setting.hostname)
            )
            for start in range(0, len(recipients), RECIPIENTS_A_TRANSACTION):
                yield Transaction(
                    group.sender,
                    recipients[start : start + RECIPIENTS_A_TRANSACTION],
                    body,
                    connection=self._connection,
                    context=self._context,
                    method="rest",
                    smtputf8=group.smtputf8,
                    event=self._event,
                )

    def _read_one(self, entry: str | InlineRecipient, job: tuple[int, int] | None = None) -> Fault | None:
        shape = InlineRecipient(address=entry) if isinstance(entry, str) else entry
        given = shape.address
        if given is None:
            return fault(Code.MISSING_FIELD, "address is required for each recipient")
        address = Address(email=given) if isinstance(given, str) else given
        email = (address.email or "").strip(" ")
        if not email:
            return fault(Code.MISSING_FIELD, "address.email is required for each recipient")
        try:
            mailbox = parse_mailbox(email)
        except AddressError as error:
            return fault(Code.INVALID_FORMAT, f"invalid recipient address.email: {email[:320]} ({error})")
        to = b""
        if not self._content.shared:
            for text in (address.name, address.header_to):
                if text and "{{" in text:
                    problem = f"recipient {email}: the template language is not available in this version"
                    return fault(Code.TEMPLATE_SYNTAX, problem)
            try:
                to = to_field("address", email, address.name or "", address.header_to)
            except HeaderError as error:
                return fault(Code.INVALID_HEADER, f"recipient {email}: {error}")
        sender = shape.return_path or self._sender
        if shape.return_path:
            wrong = address_problem(shape.return_path)
            if wrong is not None:
                return fault(wrong[0], f"recipient {email}: return_path: {wrong[1]}")
        event = self._plain_event
        if shape.metadata or shape.tags or shape.substitution_data or shape.options:
            if shape.metadata and len(_encode(shape.metadata)) > MAX_METADATA:
                return fault(Code.METADATA_TOO_LARGE, f"recipient {email}: metadata is limited to {MAX_METADATA} bytes")
            if shape.substitution_data and len(_encode(shape.substitution_data)) > MAX_SUBSTITUTION_DATA:
                limit = f"substitution_data is limited to {MAX_SUBSTITUTION_DATA} bytes"
                return fault(Code.SUBSTITUTION_TOO_LARGE, f"recipient {email}: {limit}")
            event = self._own_event(shape)
        utf8 = self._content.smtputf8 or not (email.isascii() and sender.isascii() and to.isascii())
        recipient = Recipient(email, mailbox.routing, event=event, job=job)
        self._groups.setdefault(_Group(to, sender, utf8), []).append(recipient)
        return None

    def _own_event(self, shape: InlineRecipient) -> dict[str, object]:
        event: dict[str, object] = {
            "rcpt_meta": {**self._metadata, **shape.metadata} if shape.metadata else self._metadata,
            "rcpt_tags": (shape.tags or [])[:MAX_TAGS],
        }
        if shape.options is not None:
            event |= _tracking(shape.options, self._options)
        return event


MAX_TOLD = 50  # rejected recipients told in a refusal of the whole request


def _tracking(*wishes: Tracking) -> dict[str, object]:
    """Members of events about tracking; an earlier wish wins over a later one, then the defaults (api.md 2.3)."""
    opens = next((each.open_tracking for each in wishes if each.open_tracking is not None), True)
    clicks = next((each.click_tracking for each in wishes if each.click_tracking is not None), True)
    initial = next((each.initial_open for each in wishes if each.initial_open is not None), opens)
    return {"open_tracking": opens, "click_tracking": clicks, "initial_pixel": initial}


def _check_limits(transmission: Transmission, faults: Faults) -> None:
    for name, text, limit in (
        ("campaign_id", transmission.campaign_id, MAX_CAMPAIGN),
        ("description", transmission.description, MAX_DESCRIPTION),
    ):
        if text is not None and len(text.encode(errors="replace")) > limit:
            faults.add(Code.INVALID_FORMAT, f"{name} is limited to {limit} bytes")
    if transmission.metadata and len(_encode(transmission.metadata)) > MAX_METADATA:
        faults.add(Code.METADATA_TOO_LARGE, f"metadata is limited to {MAX_METADATA} bytes")
    if transmission.substitution_data and len(_encode(transmission.substitution_data)) > MAX_SUBSTITUTION_DATA:
        faults.add(Code.SUBSTITUTION_TOO_LARGE, f"substitution_data is limited to {MAX_SUBSTITUTION_DATA} bytes")
    if transmission.return_path:
        wrong = address_problem(transmission.return_path)
        if wrong is not None:
            faults.add(wrong[0], f"return_path: {wrong[1]}")


def _check_options(
    options: Options, transmission: Transmission, wall: float, setting: Setting, faults: Faults
) -> float:
    """Options without effect yet pass; those whose absence the recipient would notice are refused. Returns when to
    start, Unix seconds; 0: now."""
    start = options.start_time
    begin = 0.0
    if start is not None and start != "now":
        try:
            moment = datetime.fromisoformat(start)
            if moment.tzinfo is None:
                raise ValueError
            begin = moment.timestamp() if moment.timestamp() > wall else 0.0
            if begin > wall + setting.max_ahead:
                text = f"options.start_time may be {setting.max_ahead:.0f} seconds ahead"
                faults.add(Code.INVALID_FORMAT, text)
        except (ValueError, OverflowError):
            faults.add(Code.INVALID_FORMAT, "options.start_time must be YYYY-MM-DDTHH:MM:SS+-HH:MM or now")
    if options.inline_css:
        faults.add(Code.INVALID_FORMAT, "options.inline_css is not available in this version")
    pool = options.ip_pool
    if pool and pool.lower() not in _POOLS and not setting.is_pool(pool):
        faults.add(Code.INVALID_PARAMS, f"options.ip_pool '{pool[:64]}' does not exist")
    if transmission.tracking_domain:
        name = transmission.tracking_domain[:255]
        faults.add(
            Code.INVALID_PARAMS,
            f"tracking_domain '{name}' does not exist: tracking domains are not available in this version",
        )
    if transmission.override:
        faults.add(Code.INVALID_FORMAT, "override is not available in this version")
    return begin


def _check_recipients(transmission: Transmission, limit: int, faults: Faults) -> list[str | InlineRecipient]:
    recipients = transmission.recipients
    if isinstance(recipients, StoredList):
        if recipients.list_id is not None:
            name = recipients.list_id[:64]
            faults.add(
                Code.NO_SUBRESOURCE,
                f"recipient list '{name}' does not exist: stored recipient lists are not available in this version",
            )
            return []
        recipients = None
    if recipients is None:
        faults.add(Code.MISSING_FIELD, "recipients or list_id required")
        return []
    if not recipients:
        faults.add(Code.NO_RECIPIENT, "recipients is empty")
    elif len(recipients) > limit:
        faults.add(Code.INVALID_FORMAT, f"recipients is limited to {limit} entries")
    return recipients
