"""What engines see of templates, snippets and lists: all at once and one by one are the same."""

from __future__ import annotations

from typing import Any

from postroad.store.database import Database
from postroad.store.kind import Id, Kind
from postroad.store.recipientlists import RECIPIENT_LISTS, RecipientList, create_list
from postroad.store.snippets import SNIPPETS, Snippet, create_snippet
from postroad.store.templates import TEMPLATES, Version, create_template, drop_draft, write_version


async def seen(database: Database, kind: Kind) -> dict[Id, Any]:
    async with database.read() as connection:
        found = {key: value async for key, value in kind.everything(connection)}
        one_by_one: dict[Id, Any] = {}
        for key in [*found, (9, "absent")]:
            one_by_one |= await kind.load(connection, [key])
        assert one_by_one == found
        assert await kind.load(connection, list(found)) == found
    return found


async def test_templates(database: Database) -> None:
    draft = Version(False, 1, "n", "d", {"transactional": True}, {"subject": "\0é"}, 5)
    async with database.begin() as tx:
        for number in range(250):
            await create_template(tx, 0, f"t{number}", number % 2 == 0, draft)
        await create_template(tx, 7, "t0", False, draft)
        await write_version(tx, 7, "t0", draft._replace(published=True, number=2, content={"subject": "two"}))
    found = await seen(database, TEMPLATES)
    assert len(found) == 251
    assert found[7, "t0"] == {
        "shared": False,
        "draft": {"version": 1, "name": "n", "options": {"transactional": True}, "content": {"subject": "\0é"}},
        "published": {"version": 2, "name": "n", "options": {"transactional": True}, "content": {"subject": "two"}},
    }
    assert (found[0, "t0"]["shared"], found[0, "t1"]["shared"]) == (True, False)
    async with database.begin() as tx:
        await drop_draft(tx, 7, "t0")
    assert (await seen(database, TEMPLATES))[7, "t0"]["draft"] is None


async def test_snippets(database: Database) -> None:
    async with database.begin() as tx:
        await create_snippet(tx, Snippet(0, "s", "n", True, {"text": "x"}, 1, 1))
        await create_snippet(tx, Snippet(7, "s", "n", False, {"html": "y"}, 1, 1))
    assert await seen(database, SNIPPETS) == {
        (0, "s"): {"shared": True, "content": {"text": "x"}},
        (7, "s"): {"shared": False, "content": {"html": "y"}},
    }


async def test_lists(database: Database) -> None:
    async with database.begin() as tx:
        await create_list(tx, RecipientList(7, "l", "n", "", {}, 1, 1, '[{"address":{"email":"a@b.example"}}]'))
    assert await seen(database, RECIPIENT_LISTS) == {
        (7, "l"): {"total": 1, "recipients": [{"address": {"email": "a@b.example"}}]}
    }
