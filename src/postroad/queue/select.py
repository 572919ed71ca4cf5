"""Which messages an operator means: selectors, evaluated in time slices over as many messages as there are."""

from __future__ import annotations

import asyncio
import json
from array import array
from collections.abc import AsyncIterator, Callable, Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated

from msgspec import Meta, Struct, field

from postroad.journal import JournalError
from postroad.message import Message, parse_message_id
from postroad.message.header import decode_words, fields
from postroad.queue.books import Books
from postroad.queue.entry import State
from postroad.queue.inspect import Where, in_flight, paths_of, standing
from postroad.queue.stored import Envelope, envelope_of

_SLICE = 1000  # messages looked at without their envelope before the loop gets its turn
_READS = 50  # mails read from the journal for one slice


class SelectorError(ValueError):
    """The selector can't be understood. The message says what is wrong with it."""


class Selector(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that is given must hold. In sender, recipient and campaign a `*` stands for anything."""

    ids: Annotated[list[str], Meta(description="Message ids, 16 hexadecimal digits each.")] = field(
        default_factory=list
    )
    domain: Annotated[str, Meta(description="Routing domain.")] = ""
    binding: Annotated[str, Meta(description="Binding.")] = ""
    state: Annotated[str, Meta(description="active, delayed or in-flight.")] = ""
    sender: Annotated[str, Meta(description="Envelope sender; <> for the null sender.")] = ""
    recipient: Annotated[str, Meta(description="Envelope recipient.")] = ""
    campaign: Annotated[str, Meta(description="campaign_id.")] = ""
    subaccount: Annotated[str, Meta(description="subaccount_id.")] = ""
    header: Annotated[str, Meta(description="NAME=VALUE: a header field with exactly this value.")] = ""
    metadata: Annotated[str, Meta(description="KEY=VALUE: of the recipient's metadata.")] = ""
    all: Annotated[bool, Meta(description="Everything; must be said, so that nobody means it by mistake.")] = False


class Facts:
    """What a selector wants to know of one message beyond its place in the queue."""

    def __init__(self, sender: str, recipient: str, event: bytes, header: bytes) -> None:
        self.sender = sender
        self.recipient = recipient
        self.header = header
        self._event = event

    @cached_property
    def event(self) -> dict[str, object]:
        members: dict[str, object] = json.loads(b"{" + self._event + b"}")
        return members


Test = Callable[[Facts], bool]


def state_named(text: str) -> State | None:
    """Raises SelectorError."""
    if not text:
        return None
    try:
        return {"active": State.ACTIVE, "delayed": State.DELAYED, "in-flight": State.IN_FLIGHT}[text]
    except KeyError:
        raise SelectorError(f"there is no state {text[:40]!r}; known: active, delayed, in-flight") from None


def check(selector: Selector) -> None:
    """Raises SelectorError."""
    _tests(selector)
    state_named(selector.state)
    _ids(selector)
    if selector.all == (selector != Selector(all=selector.all)):
        raise SelectorError(
            "`all` stands alone: it selects everything"
            if selector.all
            else "nothing is selected: name ids, a domain, a binding ... or `all`"
        )


def _ids(selector: Selector) -> list[int]:
    try:
        return [parse_message_id(text) for text in selector.ids]
    except ValueError as error:
        raise SelectorError(str(error)) from None


def _pair(text: str, what: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise SelectorError(f"{what} is NAME=VALUE, not {text[:40]!r}")
    return name, value


def _tests(selector: Selector) -> list[Test]:
    """What needs the envelope. Raises SelectorError."""
    tests: list[Test] = []
    if selector.sender:
        sender = "" if selector.sender == "<>" else selector.sender
        tests.append(lambda facts: _like(facts.sender, sender))
    if selector.recipient:
        tests.append(lambda facts: _like(facts.recipient, selector.recipient))
    if selector.campaign:
        tests.append(lambda facts: _like(str(facts.event.get("campaign_id", "")), selector.campaign))
    if selector.subaccount:
        tests.append(lambda facts: facts.event.get("subaccount_id") == selector.subaccount)
    if selector.metadata:
        key, wanted = _pair(selector.metadata, "metadata")

        def has_metadata(facts: Facts) -> bool:
            given = facts.event.get("rcpt_meta")
            value = given.get(key) if isinstance(given, dict) else None
            return value is not None and (value == wanted or json.dumps(value) == wanted)

        tests.append(has_metadata)
    if selector.header:
        name, value = _pair(selector.header, "header")
        try:
            raw = name.encode("ascii")
        except UnicodeEncodeError:
            raise SelectorError("a header field's name is ASCII") from None
        tests.append(lambda facts: any(decode_words(found) == value for found in fields(facts.header, raw)))
    return tests


def _like(text: str, wanted: str) -> bool:
    if "*" not in wanted:
        return text == wanted
    # Only the asterisk is a wildcard: addresses may hold ? and [.
    return fnmatchcase(text, wanted.replace("[", "[[]").replace("?", "[?]"))


async def select(books: Books, selector: Selector) -> AsyncIterator[list[int]]:
    """Raises SelectorError at the first step."""
    check(selector)
    tests = _tests(selector)
    where = Where(selector.domain, selector.binding, state_named(selector.state))
    numbers = _candidates(books, where, _ids(selector) if selector.ids else None)
    anywhere = where == Where()
    size = _READS if tests else _SLICE
    for start in range(0, len(numbers), size):
        some = [number for number in numbers[start : start + size] if anywhere or _stands(books, number, where)]
        if tests and some:
            some = await _having(books, some, tests)
        else:
            some = [number for number in some if number in books.live]
        if some:
            yield some
        await asyncio.sleep(0)


def _candidates(books: Books, where: Where, ids: list[int] | None) -> array[int]:
    """A snapshot: what comes into the queue while we look is not meant."""
    if ids is not None:
        return array("Q", dict.fromkeys(ids))
    if not where.domain and not where.binding:
        return books.live.numbers()
    # Ghosts may repeat an id.
    numbers = dict.fromkeys(in_flight(books, where))
    for path in paths_of(books, where):
        numbers.update(dict.fromkeys(path.numbers()))
    return array("Q", numbers)


def _stands(books: Books, number: int, where: Where) -> bool:
    found = standing(books, number)
    return (
        found is not None
        and where.domain in ("", found.domain)
        and where.binding in ("", found.binding)
        and where.state in (None, found.state)
    )


async def _having(books: Books, numbers: list[int], tests: list[Test]) -> list[int]:
    """Those that pass all tests. What can't be read passes none."""
    packed: list[tuple[int, int, int]] = []
    passed: set[int] = set()
    for number in numbers:
        kept = books.live.get(number)
        if isinstance(kept, Message) and kept.body is not None:
            facts = Facts(kept.sender, kept.recipient, kept.event, kept.body.trace + kept.body.content[:_HEADER])
            if all(test(facts) for test in tests):
                passed.add(number)
        elif (found := standing(books, number)) is not None:
            packed.append((number, found.place, found.slot))
    while packed:
        loop = asyncio.get_running_loop()
        passed |= await loop.run_in_executor(None, _read, books, packed, tests)
        # Those that compaction moved meanwhile are looked at again.
        again = [(one, now.place, now.slot) for one, _, _ in packed if (now := standing(books, one)) is not None]
        packed = [entry for entry in again if entry not in packed]
    return [number for number in numbers if number in passed]


_HEADER = 1 << 20  # octets in which a header section is looked for; listeners refuse larger ones


def _read(books: Books, entries: Iterable[tuple[int, int, int]], tests: list[Test]) -> set[int]:
    """Blocking, in a thread."""
    passed: set[int] = set()
    last = -1
    envelope: Envelope | None = None
    header = b""
    for number, place, slot in entries:
        if place != last:
            last = place
            try:
                stored = books.journal.read_mail(place)
                envelope, header = envelope_of(stored.meta), stored.trace + stored.content[:_HEADER]
            except (JournalError, ValueError):
                envelope = None
        if envelope is not None and slot < len(envelope.recipients):
            recipient = envelope.recipients[slot]
            facts = Facts(envelope.sender, recipient.address, recipient.event, header)
            if all(test(facts) for test in tests):
                passed.add(number)
    return passed
