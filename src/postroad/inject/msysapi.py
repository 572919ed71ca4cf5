"""The X-MSYS-API header of mail that comes by SMTP (api.md 18): what HTTP says beside a message, said in a field of it;
and what the account says of all its mail: suppressed recipients and defaults.

Only clients that may send anywhere are heard; of a stranger's mail the field is nobody's business. It never goes out.
A stranger's mail is not the account's, so nobody is suppressed for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from postroad.generate import Wishes
from postroad.generate.headers import BuildError
from postroad.generate.people import people_field, person_text
from postroad.inject.http.shapes import Tracking
from postroad.inject.http.stock import AccountOptions
from postroad.inject.tracked import Sites, Wanted, tracked
from postroad.inject.unwanted import Unwanted, list_token, mark_unwanted
from postroad.message import (
    PRIORITY,
    Accepted,
    Acceptor,
    Body,
    IdSource,
    Recipient,
    Refused,
    Rejection,
    Reply,
    Transaction,
)
from postroad.message.address import AddressError, parse_mailbox
from postroad.message.header import field, header_end
from postroad.message.together import accept_together, part
from postroad.policy import GROUP, Content

_NAME = b"X-MSYS-API"
_MAX_FIELD = 1 << 16  # octets
_MAX_CAMPAIGN = 64  # bytes
_MAX_TAGS = 10
_MAX_COPIES = 1000
_KINDS = {"object": "json object", "array": "json array", "str": "json string", "bool": "json boolean"}
# Pools that stand for no choice (api.md 19).
_POOLS = ("", "default")


class _Named(msgspec.Struct):
    email: str
    name: str = ""


class _Options(msgspec.Struct):
    open_tracking: bool | None = None
    click_tracking: bool | None = None
    initial_open: bool | None = None
    transactional: bool | None = None
    skip_suppression: bool = False
    ip_pool: str | None = None
    inline_css: bool = False
    dkim_key: str | None = None


class _Asked(msgspec.Struct):
    """Members it does not know are passed over."""

    campaign_id: str | None = None
    metadata: dict[str, object] | None = None
    tags: list[str] | None = None
    cc: list[str | _Named] | None = None
    bcc: list[str | _Named] | None = None
    archive: list[str | _Named] | None = None
    options: _Options | None = None


class Account(Unwanted, Sites, Protocol):
    """What an account says of its mail (inject.http.stock.Stock)."""

    def account(self) -> AccountOptions: ...


class _Wrong(ValueError):
    """What the client hears behind 550 5.6.0."""


class MsysApi:
    """An Acceptor in front of another. is_pool(name): is this a group of the configuration? stock: of the account.
    wall: Unix seconds."""

    def __init__(
        self,
        acceptor: Acceptor,
        is_pool: Callable[[str], bool],
        stock: Account,
        ids: IdSource,
        wall: Callable[[], float],
    ) -> None:
        self._acceptor = acceptor
        self._is_pool = is_pool
        self._stock = stock
        self._ids = ids
        self._wall = wall

    def refusal(self) -> Reply | None:
        return self._acceptor.refusal()

    def rejected(self, rejection: Rejection) -> None:
        self._acceptor.rejected(rejection)

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        if transaction.connection.get("can_relay") != "true":
            self._acceptor.accept(transaction, done)
            return
        raw, list_id = _said(transaction.body.content)
        account = self._stock.account()
        transactional = account.transactional_default
        if raw is None:
            if transactional:
                _put_ahead(transaction)
            self._mark_unwanted(transaction, transactional, list_id)
            if not account.smtp_tracking_default:
                self._acceptor.accept(transaction, done)
                return
            wanted = _wanted(account, _Options(), transactional)
            accept_together(self._acceptor, tracked(transaction, wanted, self._stock, self._ids, self._wall()), done)
            return
        try:
            asked = _read(raw)
            options = asked.options or _Options()
            if options.transactional is not None:
                transactional = options.transactional
            parts = _parts(transaction, asked, options, transactional, self._is_pool)
        except _Wrong as error:
            reply = Reply(550, f"5.6.0 {error}")
            first = transaction.recipients[0].address
            about = (transaction.sender, first, transaction.connection.get("remote_addr", ""), transaction.method)
            self._acceptor.rejected(Rejection(reply, *about, transaction.connection, len(transaction.recipients)))
            done(Refused(reply))
            return
        if not options.skip_suppression:
            for each in parts:
                self._mark_unwanted(each, transactional, list_id)
        wanted = _wanted(account, options, transactional)
        if wanted:
            wall = self._wall()
            parts = [made for each in parts for made in tracked(each, wanted, self._stock, self._ids, wall)]
        count = len(transaction.recipients)

        def kept(result: Accepted | Refused) -> None:
            # The client knows of the recipients it named, not of the copies.
            done(result if isinstance(result, Refused) else Accepted(result.ids[:count]))

        accept_together(self._acceptor, parts, kept)

    def _mark_unwanted(self, transaction: Transaction, transactional: bool, list_id: str) -> None:
        mark_unwanted(
            transaction.recipients,
            self._stock,
            int(transaction.connection.get("subaccount_id", "0")),
            transactional=transactional,
            now=self._wall(),
            list_id=list_id,
        )


def _said(content: bytes) -> tuple[bytes | None, str]:
    """The X-MSYS-API field, if there is one, and the list that List-Id names, or ""."""
    end = header_end(content)
    # Nearly no message has them; this look costs a fraction of a search by name.
    head = b"\n" + content[:end].lower()
    raw = field(content, _NAME, end) if b"\nx-msys-api" in head else None
    if b"\nlist-id" not in head:
        return raw, ""
    listed = field(content, b"List-Id", end) or b""
    return raw, list_token(listed.decode("latin-1"))


def _wanted(account: AccountOptions, options: _Options, transactional: bool) -> Wanted:
    wish = Tracking(options.open_tracking, options.initial_open, options.click_tracking)
    told = account.tracking(wish, default=account.smtp_tracking_default)
    unsubscribe = not transactional or account.transactional_unsub
    wishes = Wishes(told["click_tracking"], told["open_tracking"], told["initial_pixel"], unsubscribe)
    return Wanted(wishes, options.inline_css)


def _put_ahead(transaction: Transaction) -> None:
    transaction.event = transaction.event | {"transactional": "1"}
    transaction.context = transaction.context | {PRIORITY: "1"}  # somebody waits for it


def _read(raw: bytes) -> _Asked:
    if len(raw) > _MAX_FIELD:
        raise _Wrong(f"X-MSYS-API is limited to {_MAX_FIELD} bytes")
    try:
        asked = msgspec.json.decode(raw, type=_Asked)
    except msgspec.ValidationError as error:
        raise _Wrong(_type_text(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Wrong(f"JSON parsing error in X-MSYS-API: {_plain(str(error))}") from None
    except RecursionError:
        raise _Wrong("JSON parsing error in X-MSYS-API: nested too deeply") from None
    if asked.campaign_id is not None and len(asked.campaign_id.encode(errors="replace")) > _MAX_CAMPAIGN:
        raise _Wrong(f"smtpapi_campaign_id context is limited to {_MAX_CAMPAIGN} bytes")
    if sum(len(each or ()) for each in (asked.cc, asked.bcc, asked.archive)) > _MAX_COPIES:
        raise _Wrong(f"X-MSYS-API 'cc', 'bcc' and 'archive' are limited to {_MAX_COPIES} addresses")
    return asked


def _type_text(problem: str) -> str:
    """In the words clients know: X-MSYS-API 'metadata' must be of type 'json object'."""
    wanted, _, path = problem.partition(" - at `$")
    name = path.rstrip("`").lstrip(".")
    kind = wanted.removeprefix("Expected `").partition("`")[0].partition(" |")[0]
    if not name:
        return "X-MSYS-API must be of type 'json object'"
    return f"X-MSYS-API '{_plain(name)}' must be of type '{_KINDS.get(kind, kind)}'"


def _plain(text: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:200]


def _parts(
    given: Transaction, asked: _Asked, options: _Options, transactional: bool, is_pool: Callable[[str], bool]
) -> list[Transaction]:
    """First what all see alike (the client's recipients, cc and archive), then a transaction for each bcc."""
    if options.dkim_key:
        raise _Wrong(f"X-MSYS-API 'options.dkim_key': there is no key '{_plain(options.dkim_key)[:64]}'")
    context = dict(given.context)
    event = dict(given.event)
    meta: dict[str, object] = {"rcpt_meta": asked.metadata or {}, "rcpt_tags": (asked.tags or [])[:_MAX_TAGS]}
    if asked.campaign_id:
        event["campaign_id"] = asked.campaign_id
    wishes = {
        "open_tracking": options.open_tracking,
        "click_tracking": options.click_tracking,
        "initial_pixel": options.initial_open,
    }
    event |= {name: wish for name, wish in wishes.items() if wish is not None}
    if transactional:
        event["transactional"] = "1"
        context[PRIORITY] = "1"  # somebody waits for it
    pool = options.ip_pool or ""
    if is_pool(pool):
        context[GROUP] = pool
        event["ip_pool"] = pool
    elif pool.lower() not in _POOLS:
        raise _Wrong(f"X-MSYS-API 'options.ip_pool': there is no pool '{_plain(pool)[:64]}'")

    seen = {recipient.address for recipient in given.recipients}
    copies = {kind: _copies(kind, listed or [], seen, meta) for kind, listed in _lists(asked)}
    content = Content(given.body.content)
    content.remove(_NAME.decode())
    if asked.cc:
        octets = _people("cc", "Cc", asked.cc) + content.octets
    else:
        octets = content.octets
    for recipient in given.recipients:
        recipient.event = meta | (recipient.event or {})

    def made(recipients: list[Recipient], octets: bytes, number: int) -> Transaction:
        return part(given, recipients, number, body=Body(octets, given.body.trace), context=context, event=event)

    parts = [made([*given.recipients, *copies["cc"], *copies["archive"]], octets, given.id)]
    for recipient in copies["bcc"]:
        own = _people("bcc", "Bcc", [recipient.address])
        parts.append(made([recipient], own + octets, 0))
    return parts


def _lists(asked: _Asked) -> tuple[tuple[str, list[str | _Named] | None], ...]:
    return ("cc", asked.cc), ("bcc", asked.bcc), ("archive", asked.archive)


def _copies(kind: str, listed: list[str | _Named], seen: set[str], meta: dict[str, object]) -> list[Recipient]:
    """One recipient an address, whatever lists it stands in."""
    found = []
    for each in listed:
        email = each if isinstance(each, str) else each.email
        try:
            mailbox = parse_mailbox(email)
        except AddressError as error:
            raise _Wrong(f"X-MSYS-API '{kind}': {_plain(email)}: {_plain(str(error))}") from None
        if email not in seen:
            seen.add(email)
            found.append(Recipient(email, mailbox.routing, event={**meta, "rcpt_type": kind}))
    return found


def _people(kind: str, name: str, listed: list[str | _Named]) -> bytes:
    try:
        people = (_Named(each) if isinstance(each, str) else each for each in listed)
        texts = [person_text(kind, person.name, person.email) for person in people]
        return people_field(kind, name, ", ".join(texts))
    except BuildError as error:
        raise _Wrong(f"X-MSYS-API '{kind}': {_plain(str(error))}") from None
