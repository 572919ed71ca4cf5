"""/ab-test: tests of templates against each other (api.md 7).

A test sends its templates by their shares between start and end, and its default template before and after. A winner is
found by counting engagement, which this version does not: no result is shown, and none is made up.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from postroad.api.abtestshapes import (
    AbTestShown,
    AbTestUpdate,
    Schedule,
    Times,
    check_members,
    check_whole,
    given,
    shown,
)
from postroad.api.envelope import Refusal
from postroad.api.fields import check_id, made_id
from postroad.api.inuse import require_unused
from postroad.api.office import Office
from postroad.api.route import Ask, Nothing, Results, Route
from postroad.inject.http import Code, Failure
from postroad.inject.http.faults import Faults
from postroad.store.abtests import (
    AbTest,
    create_ab_test,
    delete_ab_test,
    find_ab_test,
    list_ab_tests,
    write_ab_test,
)
from postroad.store.errors import Conflict
from postroad.store.seen import AB_TEST as KIND
from postroad.store.templates import published_ids

_STATUSES = ("draft", "scheduled", "running", "completed", "cancelled")
_CHECKED = (Code.MISSING_FIELD, Code.INVALID_FORMAT, Code.NO_SUBRESOURCE)
_ABSENT = "There is no such test."


class StatusQuery(Struct, frozen=True):
    status: Annotated[str, Meta(description="Only tests that stand so.")] | None = None


class VersionQuery(Struct, frozen=True):
    version: Annotated[int, Meta(ge=1, description="Absent: the latest.")] | None = None


class TestId(Struct):
    id: str


class TestVersion(Struct):
    version: int


class TestStatus(Struct):
    status: str


class _Tests:
    def __init__(self, office: Office) -> None:
        self._office = office
        self._database = office.database

    def _now(self) -> int:
        return round(self._office.clock.wall() * 1000)

    async def create(self, ask: Ask[AbTestUpdate, Nothing]) -> Results[TestId]:
        return await self._create(ask, draft=False)

    async def create_draft(self, ask: Ask[AbTestUpdate, Nothing]) -> Results[TestId]:
        return await self._create(ask, draft=True)

    async def _create(self, ask: Ask[AbTestUpdate, Nothing], *, draft: bool) -> Results[TestId]:
        body, now = ask.body, self._now()
        settings = given(body)
        faults = Faults()
        if body.id is not None:
            check_id(faults, body.id)
            if body.id == "draft":  # a word of the paths
                faults.add(Code.INVALID_FORMAT, "'id' must not be draft")
        if draft and body.name is None:
            faults.add(Code.MISSING_FIELD, "name is a required field")
        starts, ends, completes = _checked(settings, now, faults, draft=draft)
        key = body.id or made_id(body.name or "", f"test-{secrets.token_hex(6)}")
        test = AbTest(ask.caller.subaccount, key, 1, draft, False, settings, starts, ends, completes, now, now)
        try:
            async with self._database.begin() as tx:
                if not draft:
                    await _require_templates(tx, test)
                await create_ab_test(tx, test)
        except Conflict:
            raise Failure(Code.CONFLICT, f"A/B test '{key}' already exists") from None
        return Results(TestId(key))

    async def show_all(self, ask: Ask[Nothing, StatusQuery]) -> Results[list[AbTestShown]]:
        wanted = ask.query.status
        if wanted is not None and wanted not in _STATUSES:
            raise Failure(Code.INVALID_PARAMS, f"status must be one of {', '.join(_STATUSES)}")
        return Results([each for each in await self._all(ask.caller.only) if wanted in (None, each.status)])

    async def show_drafts(self, ask: Ask[Nothing, Nothing]) -> Results[list[AbTestShown]]:
        return Results([each for each in await self._all(ask.caller.only) if each.status == "draft"])

    async def _all(self, only: int | None) -> list[AbTestShown]:
        async with self._database.read() as connection:
            found = await list_ab_tests(connection, only)
        now = self._now()
        return [shown(each, each.status(now)) for each in found]

    async def show(self, ask: Ask[Nothing, VersionQuery]) -> Results[AbTestShown]:
        async with self._database.read() as connection:
            test = await find_ab_test(connection, ask.caller.only, ask.path["id"], ask.query.version)
        if test is None:
            raise _absent(ask.path["id"])
        return Results(shown(test, test.status(self._now())))

    async def show_draft(self, ask: Ask[Nothing, Nothing]) -> Results[AbTestShown]:
        async with self._database.read() as connection:
            test = await find_ab_test(connection, ask.caller.only, ask.path["id"])
        if test is None or not test.draft:
            raise _absent(ask.path["id"])
        return Results(shown(test, "draft"))

    async def update(self, ask: Ask[AbTestUpdate, Nothing]) -> Results[TestVersion]:
        """What is scheduled is changed; what is over makes a new version."""
        key, now = ask.path["id"], self._now()
        async with self._database.begin() as tx:
            test = await self._own(tx, ask)
            status = test.status(now)
            if status == "draft":
                raise _absent(key)
            if status == "running":
                raise Refusal(409, f"A/B test {key} is running")
            settings = {**test.settings, **given(ask.body)}
            if status != "scheduled" and "start_time" in given(ask.body):
                settings.pop("end_time", None)  # of the version before
                settings |= given(ask.body)
            starts, ends, completes = self._changed(ask, settings, draft=False)
            changed = test._replace(
                settings=settings, starts=starts, ends=ends, completes=completes, cancelled=False, updated=now
            )
            await _require_templates(tx, changed)
            if status == "scheduled":
                await write_ab_test(tx, changed)
            else:
                changed = changed._replace(version=test.version + 1, created=now)
                await create_ab_test(tx, changed)
        return Results(TestVersion(changed.version))

    async def update_draft(self, ask: Ask[AbTestUpdate, Nothing]) -> Results[TestId]:
        async with self._database.begin() as tx:
            test = await self._own_draft(tx, ask)
            settings = {**test.settings, **given(ask.body)}
            self._changed(ask, settings, draft=True)
            await write_ab_test(tx, test._replace(settings=settings, updated=self._now()))
        return Results(TestId(test.id))

    async def schedule(self, ask: Ask[Schedule, Nothing]) -> Results[TestId]:
        now = self._now()
        async with self._database.begin() as tx:
            test = await self._own_draft(tx, ask)
            faults = Faults()
            if ask.body.start_time is None:
                faults.add(Code.MISSING_FIELD, "start_time is a required field")
            settings = {**test.settings, **given(ask.body)}
            starts, ends, completes = _checked(settings, now, faults, draft=False)
            test = test._replace(
                draft=False, settings=settings, starts=starts, ends=ends, completes=completes, updated=now
            )
            await _require_templates(tx, test)
            await write_ab_test(tx, test)
        return Results(TestId(test.id))

    async def cancel(self, ask: Ask[Nothing, Nothing]) -> Results[TestStatus]:
        now = self._now()
        async with self._database.begin() as tx:
            test = await self._own(tx, ask)
            status = test.status(now)
            if status == "draft":
                raise _absent(test.id)
            if status == "completed":
                raise _wrong_status(test.id, "'scheduled' or 'running'")
            if status != "cancelled":
                await write_ab_test(tx, test._replace(cancelled=True, updated=now))
        return Results(TestStatus("cancelled"))

    async def delete(self, ask: Ask[Nothing, Nothing]) -> None:
        async with self._database.begin() as tx:
            test = await find_ab_test(tx, ask.caller.subaccount, ask.path["id"])
            if test is None:
                raise Refusal(404, "Resource could not be found")
            if test.status(self._now()) not in ("cancelled", "completed"):
                raise _wrong_status(test.id, "'cancelled' or 'completed'")
            await require_unused(self._office, KIND, test.id, test.subaccount, f"A/B test '{test.id}'")
            await delete_ab_test(tx, test.subaccount, test.id)

    async def delete_draft(self, ask: Ask[Nothing, Nothing]) -> None:
        async with self._database.begin() as tx:
            test = await self._own_draft(tx, ask)
            await delete_ab_test(tx, test.subaccount, test.id)

    async def _own(self, tx: Any, ask: Ask[Any, Any]) -> AbTest:
        test = await find_ab_test(tx, ask.caller.subaccount, ask.path["id"])
        if test is None:
            raise _absent(ask.path["id"])
        return test

    async def _own_draft(self, tx: Any, ask: Ask[Any, Any]) -> AbTest:
        test = await self._own(tx, ask)
        if not test.draft:
            raise _wrong_status(test.id, "'draft'")
        return test

    def _changed(self, ask: Ask[AbTestUpdate, Nothing], settings: Mapping[str, Any], *, draft: bool) -> _MaybeTimes:
        faults = Faults()
        key = ask.path["id"]
        if ask.body.id is not None and ask.body.id != key:
            faults.add(Code.INVALID_FORMAT, f"A/B test id '{ask.body.id[:64]}' does not match the one being updated")
        return _checked(settings, self._now(), faults, draft=draft)


_MaybeTimes = Times | tuple[None, None, None]


def _checked(settings: Mapping[str, Any], now: int, faults: Faults, *, draft: bool) -> _MaybeTimes:
    """When it runs. Raises Failure with all that is wrong."""
    check_members(settings, faults)
    times: _MaybeTimes = (None, None, None)
    if not draft:
        times = check_whole(settings, now, faults)
    faults.stop()
    return times


async def _require_templates(tx: Any, test: AbTest) -> None:
    """All its templates must be published. Raises Failure."""
    named = [test.settings["default_template"], *test.settings["variants"]]
    wanted = {each["template_id"]: None for each in named}
    there = await published_ids(tx, test.subaccount, wanted)
    faults = Faults()
    for key in wanted:
        if key not in there:
            faults.add(Code.NO_SUBRESOURCE, f"template '{key[:64]}' does not exist, or is not published")
    faults.stop()


def _absent(key: str) -> Refusal:
    return Refusal(404, {"message": f"A/B test {key[:64]} does not exist", "code": Code.NOT_FOUND.code})


def _wrong_status(key: str, wanted: str) -> Refusal:
    return Refusal(409, f"A/B test '{key}' must have status {wanted} to use this endpoint")


def routes(office: Office) -> list[Route[Any, Any]]:
    tests = _Tests(office)
    absent = {404: _ABSENT}
    example = {
        "name": "Subject lines",
        "default_template": {"template_id": "plain", "percent": 60},
        "variants": [{"template_id": "question", "percent": 40}],
        "metric": "count_unique_clicked",
        "audience_selection": "percent",
        "test_mode": "learning",
        "start_time": "2027-01-01T08:00:00+00:00",
    }
    return [
        Route(
            method="POST",
            path="/ab-test",
            handler=tests.create,
            summary="Schedule an A/B test",
            body=AbTestUpdate,
            answers=Results[TestId],
            refuses=(*_CHECKED, Code.CONFLICT),
            refuses_with={400: "A template_id is missing."},
            example=example,
        ),
        Route(
            method="GET",
            path="/ab-test",
            handler=tests.show_all,
            summary="The latest version of each A/B test",
            query=StatusQuery,
            answers=Results[list[AbTestShown]],
            refuses=(Code.INVALID_PARAMS,),
        ),
        Route(
            method="GET",
            path="/ab-test/{id}",
            handler=tests.show,
            summary="An A/B test",
            query=VersionQuery,
            answers=Results[AbTestShown],
            refuses_with=absent,
        ),
        Route(
            method="PUT",
            path="/ab-test/{id}",
            handler=tests.update,
            summary="Change an A/B test that does not run",
            description="What is scheduled is changed; what is completed or cancelled makes a new version.",
            body=AbTestUpdate,
            answers=Results[TestVersion],
            refuses=_CHECKED,
            refuses_with={400: "A template_id is missing.", 409: "The test is running.", **absent},
            example={"start_time": "2027-02-01T08:00:00+00:00"},
        ),
        Route(
            method="POST",
            path="/ab-test/{id}/cancel",
            handler=tests.cancel,
            summary="End an A/B test: all get the default template",
            answers=Results[TestStatus],
            refuses_with={409: "The test is completed.", **absent},
        ),
        Route(
            method="DELETE",
            path="/ab-test/{id}",
            handler=tests.delete,
            summary="Remove an A/B test that is over",
            answers=None,
            refuses_with={409: "The test is not over.", **absent},
        ),
        Route(
            method="POST",
            path="/ab-test/draft",
            handler=tests.create_draft,
            summary="Store the draft of an A/B test",
            body=AbTestUpdate,
            answers=Results[TestId],
            refuses=(*_CHECKED[:2], Code.CONFLICT),
            example={"name": "Subject lines"},
        ),
        Route(
            method="GET",
            path="/ab-test/draft",
            handler=tests.show_drafts,
            summary="All drafts of A/B tests",
            answers=Results[list[AbTestShown]],
        ),
        Route(
            method="GET",
            path="/ab-test/draft/{id}",
            handler=tests.show_draft,
            summary="The draft of an A/B test",
            answers=Results[AbTestShown],
            refuses_with=absent,
        ),
        Route(
            method="PUT",
            path="/ab-test/draft/{id}",
            handler=tests.update_draft,
            summary="Change the draft of an A/B test",
            body=AbTestUpdate,
            answers=Results[TestId],
            refuses=_CHECKED[:2],
            refuses_with={409: "It is no draft.", **absent},
            example={"metric": "count_unique_clicked"},
        ),
        Route(
            method="DELETE",
            path="/ab-test/draft/{id}",
            handler=tests.delete_draft,
            summary="Remove the draft of an A/B test",
            answers=None,
            refuses_with={409: "It is no draft.", **absent},
        ),
        Route(
            method="POST",
            path="/ab-test/draft/{id}/schedule",
            handler=tests.schedule,
            summary="Make a draft a test that will run",
            body=Schedule,
            answers=Results[TestId],
            refuses=_CHECKED,
            refuses_with={400: "A template_id is missing.", 409: "It is no draft.", **absent},
            example={"start_time": "2027-01-01T08:00:00+00:00"},
        ),
    ]
