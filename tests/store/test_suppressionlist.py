"""The suppression list in its tables: keys, searches, pages, expiry, compliance."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.store.database import Database
from postroad.store.suppressionlist import (
    COMPLIANCE,
    SEEN,
    CursorError,
    Search,
    Suppression,
    all_pages,
    of_recipient,
    put,
    remove,
    search,
    summary,
    sweep,
)

NOW = 1_800_000_000_000
ALL = Search(None)


def row(
    recipient: str = "a@b.test", *, transactional: bool = False, subaccount: int = 0, **more: object
) -> Suppression:
    return Suppression(subaccount, recipient, transactional, **more)  # type: ignore[arg-type]


async def test_rows_are_made_changed_and_taken_away(database: Database) -> None:
    async with database.begin() as tx:
        assert await put(tx, [row(), row(transactional=True), row(list_id="news", description="x")], NOW) == 3
    async with database.begin() as tx:
        changed = row(description="asked", evidence={"event_id": "7"}, source="Bounce Rule")
        assert await put(tx, [changed, row(description="of two the first counts")], NOW + 5) == 1
    async with database.read() as connection:
        found = await of_recipient(connection, 0, "a@b.test", NOW)
        assert [(each.transactional, each.list_id) for each in found] == [(False, ""), (True, ""), (False, "news")]
        assert found[0] == changed._replace(created=NOW, updated=NOW + 5)
        assert await of_recipient(connection, 7, "a@b.test", NOW) == []
        wanted = [(0, each.key) for each in found]
        assert await SEEN.load(connection, [*wanted, (7, found[0].key)]) == dict.fromkeys(wanted, 0)
    async with database.begin() as tx:
        assert await remove(tx, 7, "a@b.test") == 0
        assert await remove(tx, 0, "a@b.test", list_id="news") == 1
        assert await remove(tx, 0, "a@b.test", transactional=True) == 1
        assert await remove(tx, 0, "a@b.test") == 1
    async with database.read() as connection:
        assert await SEEN.load(connection, wanted) == {}


async def test_what_compliance_put_there_nobody_changes(database: Database) -> None:
    async with database.begin() as tx:
        await put(tx, [row(source=COMPLIANCE, description="law")], NOW)
    async with database.begin() as tx:
        assert await put(tx, [row(description="mine"), row(transactional=True)], NOW + 1) == 1
    async with database.read() as connection:
        assert [each.description for each in await of_recipient(connection, None, "a@b.test", NOW)] == ["law", ""]
        counts = await summary(connection, None, NOW)
    assert (counts["compliance"], counts["manually_added"], counts["total"]) == (1, 1, 2)


async def test_what_has_expired_is_not_there(database: Database) -> None:
    async with database.begin() as tx:
        await put(tx, [row(expires=NOW + 10), row("c@d.test")], NOW)
    async with database.read() as connection:
        assert len((await search(connection, ALL, NOW + 9, limit=5)).rows) == 2
        assert [each.recipient for each in (await search(connection, ALL, NOW + 10, limit=5)).rows] == ["c@d.test"]
        assert await of_recipient(connection, None, "a@b.test", NOW + 10) == []
        assert (await summary(connection, 0, NOW + 10))["total"] == 1
    async with database.begin() as tx:
        assert (await sweep(tx, NOW + 9), await sweep(tx, NOW + 10), await sweep(tx, NOW + 10)) == (0, 1, 0)


SEARCHES = [
    (Search(0), {"a@x.test", "b@x.test", "c@y.test"}),
    (Search(7), {"d@y.test"}),
    (ALL, {"a@x.test", "b@x.test", "c@y.test", "d@y.test"}),
    (Search(None, domain="y.test"), {"c@y.test", "d@y.test"}),
    (Search(None, sources=["Bounce Rule", "Spam Complaint"]), {"b@x.test"}),
    (Search(None, transactional=True), {"c@y.test"}),
    (Search(None, words=["full", "GONE"]), {"a@x.test", "b@x.test"}),
    (Search(None, phrase="mailbox is full"), {"b@x.test"}),
    (Search(None, phrase="100%"), {"c@y.test"}),
    (Search(None, words=["%"]), {"c@y.test"}),
    (Search(None, since=NOW + 2, until=NOW + 3), {"c@y.test", "d@y.test"}),
    (Search(None, list_id="news"), {"d@y.test"}),
    (Search(None, list_id=""), {"a@x.test", "b@x.test", "c@y.test"}),
]


@pytest.mark.parametrize(("wanted", "recipients"), SEARCHES)
async def test_searches(database: Database, wanted: Search, recipients: set[str]) -> None:
    rows = [
        row("a@x.test", description="user gone", updated=NOW),
        row("b@x.test", description="the mailbox is full", source="Bounce Rule", updated=NOW + 1),
        row("c@y.test", transactional=True, description="100% sure", updated=NOW + 2),
        row("d@y.test", subaccount=7, list_id="news", updated=NOW + 3),
    ]
    async with database.begin() as tx:
        await put(tx, rows, NOW)
    async with database.read() as connection:
        found = await search(connection, wanted, NOW + 9, limit=10)
    assert {each.recipient for each in found.rows} == recipients and found.total == len(recipients)
    assert found.rows == sorted(found.rows, key=lambda each: each.updated, reverse=True)


@pytest.mark.parametrize("ascending", [False, True])
async def test_pages_show_each_row_once(database: Database, ascending: bool) -> None:
    rows = [
        row(f"{number:03}@x.test", transactional=bool(number % 2), updated=NOW + number // 7) for number in range(60)
    ]
    async with database.begin() as tx:
        await put(tx, rows, NOW)
    wanted = ALL._replace(ascending=ascending)
    seen: list[Suppression] = []
    async with database.read() as connection:
        cursor = ""
        for _ in range(20):
            found = await search(connection, wanted, NOW, limit=7, cursor=cursor)
            assert found.total == 60
            seen += found.rows
            cursor = found.cursor
            if not cursor:
                break
        assert len({each[:4] for each in seen}) == 60
        assert (await search(connection, wanted, NOW, limit=7, offset=56)).rows == seen[56:]
        for bad in ("x", "!!", "gqFhAaFiAg"):
            with pytest.raises(CursorError):
                await search(connection, wanted, NOW, limit=7, cursor=bad)
    again = [each async for rows in all_pages(database, wanted, NOW, 7) for each in rows]
    assert again == (seen if ascending else seen[::-1])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
async def test_any_description_comes_back(database: Database, text: str) -> None:
    async with database.begin() as tx:
        await put(tx, [row(description=text)], NOW)
    async with database.read() as connection:
        (found,) = await of_recipient(connection, 0, "a@b.test", NOW)
    assert found.description == text


async def test_engines_see_each_row_and_until_when(database: Database) -> None:
    rows = [
        row(f"{number}@x.test", transactional=kind, subaccount=subaccount, expires=NOW + 1 if number else None)
        for number in range(3)
        for kind in (True, False)
        for subaccount in (0, 7)
    ]
    async with database.begin() as tx:
        await put(tx, rows, NOW)
    async with database.read() as connection:
        seen = {key: value async for key, value in SEEN.everything(connection)}
        assert seen == await SEEN.load(connection, list(seen))
    assert len(seen) == 12 and sorted(seen.values()) == [0] * 4 + [NOW // 1000 + 1] * 8
