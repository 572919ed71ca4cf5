"""From what a survey found to streams that take records again."""

from __future__ import annotations

import contextlib
from itertools import zip_longest

from postroad.journal.catalog import Catalog, Segment
from postroad.journal.commit import Injection, Writer
from postroad.journal.format import EVENT, FILE_HEADER_SIZE, MAIL
from postroad.journal.records import ACCEPTED, HOMED, Event, split_place
from postroad.journal.retention import EventSegment
from postroad.journal.survey import Survey
from postroad.journal.tail import EventTail, MailTail, Setting


def remove_spares(setting: Setting, catalog: Catalog) -> None:
    """They are made anew when needed."""
    for name in catalog.spares:
        with contextlib.suppress(OSError):
            setting.disk.unlink(setting.directory / name)


def begin_writing(
    setting: Setting, catalog: Catalog, survey: Survey, min_free: int, injection: Injection | None
) -> Writer:
    """Make both streams ready for records, and write the injection events that the crash took. A disk that does not
    allow it is no error here: the writer's `refusal` says why, and it tries again later."""
    # All mail may be gone, and the numbers of its segments with it. They must rise all the same: events tell of places,
    # and their order is the order of acceptance.
    mentioned = [segment.high or 0 for segment in catalog.events]
    told = max(survey.high, split_place(survey.balance.accepted_place)[0], *mentioned)
    last_mail = catalog.mail[-1].number if catalog.mail else 0
    last_event = catalog.events[-1].number if catalog.events else 0
    mail = MailTail(setting, highest=max(told, catalog.highest[MAIL]), previous=last_mail, previous_end=survey.mail_end)
    events = EventTail(
        setting,
        highest=catalog.highest[EVENT],
        previous=last_event,
        previous_end=survey.event_end,
        previous_low=survey.low,
        previous_high=survey.high,
        balance=survey.balance,
    )
    _cut_ends(setting, mail, catalog.mail, survey.mail_end, told)
    _cut_ends(setting, events, catalog.events, survey.event_end, 0)
    writer = Writer(setting, mail, events, min_free)
    writer.check_health()
    writer.first_events([(_injection(survey, at, injection), None) for at in range(len(survey.missing))])
    return writer


def _injection(survey: Survey, at: int, make: Injection | None) -> Event:
    mail, entry, homed = survey.missing[at]
    if make is None or homed:
        event = Event(entry.message_id, 0, b"", flags=HOMED if homed else 0)
    else:
        event = make(entry.message_id, entry.index, mail)
    event.flags |= ACCEPTED
    event.place = mail.place
    event.index = entry.index
    return event


def _cut_ends(setting: Setting, tail: MailTail | EventTail, segments: list[Segment], last_end: int, told: int) -> None:
    """Cut what stands behind the records: a torn tail, room that was not used, or what was never acknowledged. A last
    segment without a record is taken up again, so that restarts of an idle engine leave no trail of files; but not one
    that events tell of (up to told): its records are lost, and their places must not become those of others."""
    for segment in segments:
        end = segment.end if segment.sealed else last_end
        with contextlib.suppress(OSError):
            empty = not segment.sealed and end == FILE_HEADER_SIZE and segment.number > told
            if empty and segment.header is not None:
                tail.resume(segment.header, setting.disk.open(setting.directory / segment.name, write=True))
            elif end < segment.size:
                tail.cut(segment.number, end, setting.disk.open(setting.directory / segment.name, write=True))


def kept_events(catalog: Catalog, survey: Survey, now_ms: int) -> list[EventSegment]:
    """The event segments that get no more events, for retention. The follower's creation is when a segment got its last
    event."""
    kept = []
    for segment, follower in zip_longest(catalog.events, catalog.events[1:]):
        sealed_ms = now_ms
        if follower is not None and follower.header is not None:
            sealed_ms = follower.header.created_ms
        low, high, end = segment.low, segment.high, segment.end
        if not segment.sealed:
            low, high, end = survey.low, survey.high, survey.event_end
        kept.append(EventSegment(segment.number, end, sealed_ms, low, high))
    return kept
