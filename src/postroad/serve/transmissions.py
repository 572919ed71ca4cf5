"""What an engine tells of its transmissions, and cancels of them, when control asks (api/resources/transmissions.py).
All engines are asked: a transmission is where the client's connection was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from postroad.journal import JournalError
from postroad.net import Clock
from postroad.queue.jobs import Job, Jobs, Phase

MOST = 10_000  # rows of an answer


class Row(msgspec.Struct):
    """One transmission. state: as api.md 2.8 spells it. start, began, ended: Unix seconds, 0: unknown or not yet.
    shown: what GET tells of the request."""

    id: str
    subaccount: int
    campaign_id: str
    state: str
    num_rcpts: int
    num_generated: int
    num_failed_gen: int
    start: float
    began: float
    ended: float
    shown: msgspec.Raw


class Refused(msgspec.Struct):
    """Why one is not cancelled. late: it begins too soon; else it is in this state."""

    id: str
    state: str
    late: bool


class Canceled(msgspec.Struct):
    """What became of the wish to cancel. canceled: ids; with dry_run those that would be."""

    canceled: list[str]
    refused: list[Refused]


class Desk:
    """jobs: of this engine. window(): seconds before its start from which on one can't be cancelled by its id."""

    def __init__(self, jobs: Jobs, clock: Clock, window: Callable[[], float]) -> None:
        self._jobs = jobs
        self._clock = clock
        self._window = window

    def rows(
        self, id: str = "", subaccount: int | None = None, campaign: str | None = None, template: str | None = None
    ) -> list[Row]:
        """The newest first. subaccount: of this one alone. id "": of all. Raises ValueError."""
        found = self._chosen(id, subaccount)
        if campaign is not None:
            found = [job for job in found if job.about.campaign == campaign]
        rows = [self._row(job) for job in sorted(found, key=lambda job: -job.number)]
        if template is not None:
            rows = [row for row in rows if _template(row) == template]
        return rows[:MOST]

    def using(self, kind: str, key: str, subaccount: int | None = None) -> list[str]:
        """Ids of those that name this object and are not through yet. kind: as the catalog's. subaccount: of this one
        alone."""
        return [
            str(job.number)
            for job in self._chosen("", subaccount)
            if self._state(job) in ("submitted", "Generating") and _uses(job).get(kind) == key
        ][:MOST]

    async def cancel(
        self, id: str = "", subaccount: int | None = None, campaign: str | None = None, dry_run: bool = False
    ) -> Canceled:
        """By its id, or all of a campaign that have not begun. Kept when it returns. Raises ValueError,
        JournalError."""
        if bool(id) == (campaign is not None):
            raise ValueError("either an id or a campaign is needed")
        result = Canceled([], [])
        waiting = []
        for job in self._chosen(id, subaccount):
            state = self._state(job)
            left = job.about.start - self._clock.wall()
            if campaign is not None and (job.about.campaign != campaign or state != "submitted"):
                continue
            if state != "submitted" or (campaign is None and left <= self._window()):
                result.refused.append(Refused(str(job.number), state, state == "submitted"))
                continue
            result.canceled.append(str(job.number))
            if not dry_run:
                waiting.append(self._cancel(job))
        await asyncio.gather(*waiting)
        return result

    def _cancel(self, job: Job) -> asyncio.Future[None]:
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: JournalError | None) -> None:
            if error is None:
                kept.set_result(None)
            else:
                kept.set_exception(error)

        self._jobs.enter_phase(job, Phase.CANCELING, done)
        return kept

    def _chosen(self, id: str, subaccount: int | None) -> list[Job]:
        found = list(self._jobs)
        if id:
            if not (id.isascii() and id.isdecimal() and len(id) <= 20):
                raise ValueError("a transmission id is a whole number")
            job = self._jobs.get(int(id))
            found = [] if job is None else [job]
        return [job for job in found if subaccount is None or job.about.subaccount == subaccount]

    def _state(self, job: Job) -> str:
        if job.phase in (Phase.CANCELING, Phase.CANCELED):
            return "Canceled"
        if job.phase is Phase.SUCCESS:
            return "Success"
        waits = job.about.start > self._clock.wall() and not job.progress.base and not job.progress.mask
        return "submitted" if waits or (not job.about.began and not job.progress.base) else "Generating"

    def _row(self, job: Job) -> Row:
        about = job.about
        failed = job.progress.failed
        total = about.total - about.rejected
        # Of the list's entries that were refused at first it is known only how many there are; they count as the last.
        made = total if job.over else min(job.settled, total)
        return Row(
            str(job.number),
            about.subaccount,
            about.campaign,
            self._state(job),
            total,
            max(0, made - failed),
            failed,
            about.start or job.received,
            about.began,
            about.ended,
            msgspec.Raw(about.shown),
        )


def _uses(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(job.about.shown).get("uses", {})
    return found


def _template(row: Row) -> Any:
    return msgspec.json.decode(bytes(row.shown)).get("content", {}).get("template_id")


class JointDesk:
    """The same of the whole server, for commands. ask_all: see console.JointConsole."""

    def __init__(self, ask_all: Callable[..., Awaitable[Any]]) -> None:
        self._ask_all = ask_all

    async def rows(self, id: str = "", campaign: str | None = None) -> dict[str, Any]:
        """Raises ValueError."""
        found, missing = await self._ask("transmissions", {"id": id, "campaign": campaign}, patient=False)
        rows = sorted((row for each in found for row in each), key=lambda row: -int(row["id"]))
        return {"transmissions": rows, **missing}

    async def cancel(self, id: str = "", campaign: str | None = None, dry_run: bool = False) -> dict[str, Any]:
        """Raises ValueError."""
        wanted = {"id": id, "campaign": campaign, "dry_run": dry_run}
        found, missing = await self._ask("cancel_transmissions", wanted, patient=not dry_run)
        lists = {name: [one for each in found for one in each[name]] for name in ("canceled", "refused")}
        return {**lists, **missing}

    async def _ask(self, verb: str, arguments: dict[str, Any], *, patient: bool) -> tuple[list[Any], dict[str, Any]]:
        told = await self._ask_all(verb, arguments, "", patient=patient)
        for error in told.refused.values():
            raise ValueError(str(error))
        return list(told.answers.values()), {"missing": told.missing} if told.missing else {}
