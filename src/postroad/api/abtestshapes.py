"""Requests and answers of /ab-test, and what a test must be before it may run (api.md 7)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from postroad.api.envelope import Refusal
from postroad.api.fields import check_text
from postroad.inject.http import Code
from postroad.inject.http.faults import Faults
from postroad.store.abtests import AbTest, Status
from postroad.store.tables import MASTER

MAX_VARIANTS = 20
MAX_HOURS = 30 * 24  # from the start until the engagement of the last message is counted
_HOUR = 3_600_000  # milliseconds
_MAX_NAME = 1024  # bytes
_WORDS = {
    "metric": ("count_unique_clicked", "count_unique_confirmed_opened"),
    "audience_selection": ("percent", "sample_size"),
    "test_mode": ("bayesian", "learning"),
}
_REQUIRED = ("name", "default_template", "variants", *_WORDS, "start_time")
_NOT_COUNTED = "Absent: engagement is not counted by this version of the server."


class Variant(Struct, frozen=True, omit_defaults=True):
    """A template, and how much of the audience gets it: percent or sample_size, as audience_selection says."""

    template_id: Annotated[str, Meta(description="A published template (required).")] | None = None
    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    sample_size: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class AbTestUpdate(Struct, frozen=True, omit_defaults=True):
    """A test, or what is to change in one."""

    id: (
        Annotated[str, Meta(description="64 bytes of letters, digits and - _ . at most; absent: made of the name.")]
        | None
    ) = None
    name: Annotated[str, Meta(description="1024 bytes at most (required).")] | None = None
    default_template: Annotated[Variant, Meta(description="Who is not in the test gets it (required).")] | None = None
    variants: Annotated[list[Variant], Meta(description="20 at most (required).")] | None = None
    metric: (
        Annotated[str, Meta(description="count_unique_clicked or count_unique_confirmed_opened (required).")] | None
    ) = None
    audience_selection: Annotated[str, Meta(description="percent or sample_size (required).")] | None = None
    test_mode: (
        Annotated[
            str,
            Meta(description="bayesian or learning (required). Both end with the default template: see the answer."),
        ]
        | None
    ) = None
    start_time: Annotated[str, Meta(description="YYYY-MM-DDTHH:MM:SS+00:00 (required); the past: at once.")] | None = (
        None
    )
    end_time: Annotated[str, Meta(description="Default: 30 days after the start, less engagement_timeout.")] | None = (
        None
    )
    total_sample_size: (
        Annotated[int, Meta(ge=1, le=2**31 - 1, description="Kept; the test ends by its time.")] | None
    ) = None
    confidence_level: Annotated[float, Meta(gt=0, lt=1, description="Kept; default 0.95.")] | None = None
    engagement_timeout: Annotated[int, Meta(ge=0, le=MAX_HOURS, description="Hours; default 24.")] | None = None


class Schedule(Struct, frozen=True, omit_defaults=True):
    """When a draft begins."""

    start_time: Annotated[str, Meta(description="YYYY-MM-DDTHH:MM:SS+00:00 (required).")] | None = None
    end_time: str | None = None
    engagement_timeout: Annotated[int, Meta(ge=0, le=MAX_HOURS, description="Hours; default 24.")] | None = None


class VariantShown(Struct, omit_defaults=True):
    """A template of a test."""

    template_id: str | None = None
    percent: float | None = None
    sample_size: int | None = None
    count_accepted: Annotated[int, Meta(description=_NOT_COUNTED)] | UnsetType = UNSET
    count_unique_clicked: Annotated[int, Meta(description=_NOT_COUNTED)] | UnsetType = UNSET
    count_unique_confirmed_opened: Annotated[int, Meta(description=_NOT_COUNTED)] | UnsetType = UNSET
    engagement_rate: Annotated[float, Meta(description=_NOT_COUNTED)] | UnsetType = UNSET


class AbTestShown(Struct):
    """One version of a test."""

    id: str
    status: Annotated[str, Meta(description="draft, scheduled, running, completed or cancelled.")]
    version: int
    created_at: str
    updated_at: str
    name: str | UnsetType = UNSET
    default_template: VariantShown | UnsetType = UNSET
    variants: list[VariantShown] | UnsetType = UNSET
    metric: str | UnsetType = UNSET
    audience_selection: str | UnsetType = UNSET
    test_mode: str | UnsetType = UNSET
    start_time: str | UnsetType = UNSET
    end_time: str | UnsetType = UNSET
    total_sample_size: int | UnsetType = UNSET
    confidence_level: float | UnsetType = UNSET
    engagement_timeout: int | UnsetType = UNSET
    winning_template_id: (
        Annotated[str, Meta(description=f"{_NOT_COUNTED} After its end a test sends the default template.")] | UnsetType
    ) = UNSET
    subaccount_id: Annotated[int, Meta(description="Of a subaccount's.")] | UnsetType = UNSET


class Times(NamedTuple):
    """Milliseconds since 1970."""

    starts: int
    ends: int
    completes: int


def given(body: AbTestUpdate | Schedule) -> dict[str, Any]:
    """The members that say something, as JSON; the id is not among them."""
    found: dict[str, Any] = msgspec.to_builtins(body)
    return {name: value for name, value in found.items() if value is not None and name != "id"}


def check_members(settings: Mapping[str, Any], faults: Faults) -> None:
    """What is there, of a draft or of a whole test."""
    check_text(faults, "name", settings.get("name"), _MAX_NAME)
    for name, words in _WORDS.items():
        if name in settings and settings[name] not in words:
            faults.add(Code.INVALID_FORMAT, f"'{name}' must be {' or '.join(words)}")
    variants = settings.get("variants")
    if variants is not None and not 1 <= len(variants) <= MAX_VARIANTS:
        faults.add(Code.INVALID_FORMAT, f"variants must be 1 to {MAX_VARIANTS}")
    for name in ("start_time", "end_time"):
        if name in settings:
            _moment(name, settings[name], faults)


def check_whole(settings: Mapping[str, Any], now: int, faults: Faults) -> Times:
    """A test that is to run. Raises Refusal 400 in the words of this family; all else is added to `faults`, and then
    the times mean nothing."""
    for name in _REQUIRED:
        if name not in settings:
            faults.add(Code.MISSING_FIELD, f"{name} is a required field")
    if len(faults):
        return Times(0, 0, 0)
    default, variants = settings["default_template"], settings["variants"]
    if not all(each.get("template_id") for each in variants):
        raise Refusal(400, "Variants must have a template_id")
    if not default.get("template_id"):
        raise Refusal(400, "default_template must have a template_id")
    weight = settings["audience_selection"]
    for where, each in (("default_template", default), *((f"variants[{n}]", v) for n, v in enumerate(variants))):
        if not each.get(weight):
            faults.add(Code.MISSING_FIELD, f"{where}.{weight} is a required field, more than 0")
    if weight == "percent" and not len(faults):
        whole = sum(each["percent"] for each in (default, *variants))
        if abs(whole - 100) > 0.01:
            faults.add(Code.INVALID_FORMAT, f"percent of all templates must add up to 100, not {whole:g}")
    return _times(settings, now, faults)


def _times(settings: Mapping[str, Any], now: int, faults: Faults) -> Times:
    starts = _moment("start_time", settings["start_time"], faults)
    waits = settings.get("engagement_timeout", 24) * _HOUR
    ends = starts + MAX_HOURS * _HOUR - waits
    if "end_time" in settings:
        ends = _moment("end_time", settings["end_time"], faults)
    if len(faults):
        return Times(0, 0, 0)
    if ends <= max(starts, now):
        faults.add(Code.INVALID_FORMAT, "end_time must be after start_time, and in the future")
    elif ends + waits - starts > MAX_HOURS * _HOUR:
        faults.add(Code.INVALID_FORMAT, "a test may take 30 days, engagement_timeout included")
    return Times(starts, ends, ends + waits)


def _moment(name: str, text: str, faults: Faults) -> int:
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError
        return round(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        faults.add(Code.INVALID_FORMAT, f"{name} must be YYYY-MM-DDTHH:MM:SS+-HH:MM")
        return 0


def shown(test: AbTest, status: Status) -> AbTestShown:
    # Settings were checked when they were stored; of them a name is a member of AbTestShown each.
    made = msgspec.convert(
        {
            **test.settings,
            "id": test.id,
            "status": status,
            "version": test.version,
            "created_at": _text(test.created),
            "updated_at": _text(test.updated),
        },
        AbTestShown,
    )
    if test.starts is not None and test.ends is not None:
        made.start_time, made.end_time = _text(test.starts), _text(test.ends)
    if test.subaccount != MASTER:
        made.subaccount_id = test.subaccount
    return made


def _text(milliseconds: int) -> str:
    """2024-02-01T08:00:00.000+00:00 (api.md 1.11)."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
