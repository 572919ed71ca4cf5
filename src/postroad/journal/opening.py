"""From what a survey found to streams that take records again."""

from __future__ import annotations

import contextlib
from itertools import zip_longest
from typing import NamedTuple

from postroad.journal.catalog import Catalog, Segment
from postroad.journal.commit import Injection, Writer
from postroad.journal.format import EVENT, FILE_HEADER_SIZE, MAIL
from postroad.journal.records import ACCEPTED, Event
from postroad.journal.retention import EventSegment
from postroad.journal.survey import Survey
from postroad.journal.tail import EventTail, MailTail, Setting


class _Last(NamedTuple):
    """What the next segment's header says of the one before."""

    number: int
    end: int
    low: int
    high: int


def tidy(setting: Setting, catalog: Catalog, survey: Survey) -> tuple[Catalog, _Last, _Last]:
    """Remove spare files and last segments without a record; they are made anew when needed. Returns what is left, and
    the last segment of the mail and of the event stream."""
    for name in catalog.spares:
        with contextlib.suppress(OSError):
            setting.disk.unlink(setting.directory / name)
    mail, last_mail = _without_empty(setting, catalog.mail, survey.mail_end, 0, 0)
    events, last_event = _without_empty(setting, catalog.events, survey.event_end, survey.low, survey.high)
    highest = {
        MAIL: mail[-1].number if mail else last_mail.number,
        EVENT: events[-1].number if events else last_event.number,
    }
    return catalog._replace(mail=mail, events=events, spares=[], highest=highest), last_mail, last_event


def _without_empty(
    setting: Setting, segments: list[Segment], end: int, low: int, high: int
) -> tuple[list[Segment], _Last]:
    if not segments:
        return segments, _Last(0, 0, 0, 0)
    last = segments[-1]
    if end == FILE_HEADER_SIZE and last.header is not None:
        header = last.header
        try:
            setting.disk.unlink(setting.directory / last.name)
        except OSError:
            pass
        else:
            return segments[:-1], _Last(header.previous, header.previous_end, header.low, header.high)
    return segments, _Last(last.number, end, low, high)


def begin_writing(
    setting: Setting,
    catalog: Catalog,
    last_mail: _Last,
    last_event: _Last,
    survey: Survey,
    min_free: int,
    injection: Injection | None,
) -> Writer:
    """Begin a new segment in each stream and write the injection events that the crash took. A disk that does not allow
    it is no error here: the writer's `refusal` says why, and it tries again later."""
    mail = MailTail(setting, highest=catalog.highest[MAIL], previous=last_mail.number, previous_end=last_mail.end)
    events = EventTail(
        setting,
        highest=catalog.highest[EVENT],
        previous=last_event.number,
        previous_end=last_event.end,
        previous_low=last_event.low,
        previous_high=last_event.high,
        balance=survey.balance,
    )
    for tail, segments, last in ((mail, catalog.mail, last_mail), (events, catalog.events, last_event)):
        for segment in segments:
            end = last.end if segment.number == last.number else segment.end
            if end < segment.size:
                # Room that was not used, a torn tail, or pieces of records that were never acknowledged.
                with contextlib.suppress(OSError):
                    tail.cut(segment.number, end, setting.disk.open(setting.directory / segment.name, write=True))
    writer = Writer(setting, mail, events, min_free)
    writer.check_health()
    writer.first_events([(_injection(survey, at, injection), None) for at in range(len(survey.missing))])
    return writer


def _injection(survey: Survey, at: int, make: Injection | None) -> Event:
    mail, entry = survey.missing[at]
    event = Event(entry.message_id, 0, b"") if make is None else make(entry.message_id, entry.index, mail)
    event.flags |= ACCEPTED
    event.place = mail.place
    event.index = entry.index
    return event


def kept_events(catalog: Catalog, last: _Last, now_ms: int) -> list[EventSegment]:
    """The sealed event segments, for retention. The follower's creation is when a segment got its last event."""
    kept = []
    for segment, follower in zip_longest(catalog.events, catalog.events[1:]):
        sealed_ms = now_ms
        if follower is not None and follower.header is not None:
            sealed_ms = follower.header.created_ms
        low, high = segment.low, segment.high
        if segment.number == last.number:
            low, high = last.low, last.high
        kept.append(
            EventSegment(segment.number, segment.end if follower is not None else last.end, sealed_ms, low, high)
        )
    return kept
