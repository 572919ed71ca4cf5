"""Stored templates (api.md 3). A template has a draft, a published version, or both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.changes import changed
from postroad.store.kind import Id, Kind
from postroad.store.seen import TEMPLATE as KIND
from postroad.store.sharing import find, visible
from postroad.store.tables.templates import template_versions, templates
from postroad.store.upsert import upsert


class Version(NamedTuple):
    """number: counts up over both versions of a template. content, options: JSON objects without null; content is None
    where it was not asked for. updated: milliseconds since 1970."""

    published: bool
    number: int
    name: str
    description: str
    options: dict[str, bool]
    content: dict[str, Any] | None
    updated: int


class Template(NamedTuple):
    subaccount: int
    id: str
    shared: bool
    draft: Version | None
    published: Version | None

    @property
    def latest(self) -> Version:
        """The version that was edited last."""
        found = [each for each in (self.draft, self.published) if each is not None]
        return max(found, key=lambda each: each.number)


_LIGHT: tuple[ColumnElement[Any], ...] = tuple(column for column in template_versions.c if column.name != "content")


async def find_template(connection: AsyncConnection, only: int | None, key: str) -> Template | None:
    """The one that `only` means by this id (see sharing.find)."""
    row = await find(connection, templates, only, key)
    if row is None:
        return None
    query = sa.select(template_versions).where(
        template_versions.c.subaccount == row.subaccount, template_versions.c.id == row.id
    )
    return _template(row, (await connection.execute(query)).all())


async def list_templates(connection: AsyncConnection, only: int | None, shared: bool | None) -> list[Template]:
    """All that `only` may see, without content, by account and id. shared: only those that are, or are not."""
    condition = visible(templates, only)
    if shared is not None:
        condition = sa.and_(condition, templates.c.shared == shared)
    order = (templates.c.subaccount, templates.c.id)
    rows = (await connection.execute(sa.select(templates).where(condition).order_by(*order))).all()
    both = sa.select(*_LIGHT).join_from(template_versions, templates).where(condition)
    versions: dict[Id, list[Row[Any]]] = {}
    for row in await connection.execute(both):
        versions.setdefault((row.subaccount, row.id), []).append(row)
    return [_template(row, versions.get((row.subaccount, row.id), [])) for row in rows]


async def published_ids(connection: AsyncConnection, subaccount: int, keys: Iterable[str]) -> set[str]:
    """Which of these ids mean a published template for this account."""
    query = (
        sa.select(templates.c.id)
        .join_from(templates, template_versions)
        .where(visible(templates, subaccount), template_versions.c.published, templates.c.id.in_(list(keys)))
    )
    return set((await connection.execute(query)).scalars())


async def create_template(tx: AsyncConnection, subaccount: int, key: str, shared: bool, version: Version) -> None:
    """Raises Conflict (at the end of the transaction or before) when there is one."""
    await tx.execute(
        sa.insert(templates).values(subaccount=subaccount, id=key, shared=shared, last_version=version.number)
    )
    await tx.execute(sa.insert(template_versions).values(_values(subaccount, key, version)))
    await changed(tx, KIND, subaccount, key)


async def write_version(tx: AsyncConnection, subaccount: int, key: str, version: Version) -> None:
    """Put in the place of the draft or the published version that is there."""
    await upsert(tx, template_versions, [_values(subaccount, key, version)])
    await tx.execute(
        sa.update(templates)
        .where(templates.c.subaccount == subaccount, templates.c.id == key)
        .values(last_version=version.number)
    )
    await changed(tx, KIND, subaccount, key)


async def drop_draft(tx: AsyncConnection, subaccount: int, key: str) -> None:
    await tx.execute(
        sa.delete(template_versions).where(
            template_versions.c.subaccount == subaccount,
            template_versions.c.id == key,
            sa.not_(template_versions.c.published),
        )
    )
    await changed(tx, KIND, subaccount, key)


async def share_template(tx: AsyncConnection, subaccount: int, key: str, shared: bool) -> None:
    await tx.execute(
        sa.update(templates).where(templates.c.subaccount == subaccount, templates.c.id == key).values(shared=shared)
    )
    await changed(tx, KIND, subaccount, key)


async def delete_template(tx: AsyncConnection, subaccount: int, key: str) -> bool:
    """False: there is none."""
    done = await tx.execute(sa.delete(templates).where(templates.c.subaccount == subaccount, templates.c.id == key))
    await changed(tx, KIND, subaccount, key)
    return done.rowcount > 0


def _values(subaccount: int, key: str, version: Version) -> dict[str, Any]:
    return {
        "subaccount": subaccount,
        "id": key,
        "published": version.published,
        "version": version.number,
        "name": version.name,
        "description": version.description,
        "options": msgspec.json.encode(version.options).decode(),
        "content": msgspec.json.encode(version.content).decode(),
        "updated": version.updated,
    }


def _version(row: Row[Any]) -> Version:
    content = row._mapping.get("content")
    return Version(
        row.published,
        row.version,
        row.name,
        row.description,
        msgspec.json.decode(row.options),
        None if content is None else msgspec.json.decode(content),
        row.updated,
    )


def _template(row: Row[Any], versions: Iterable[Row[Any]]) -> Template:
    made = {each.published: _version(each) for each in versions}
    return Template(row.subaccount, row.id, row.shared, made.get(False), made.get(True))


def _seen(template: Template) -> dict[str, Any]:
    """What engines see."""

    def part(version: Version | None) -> dict[str, Any] | None:
        if version is None:
            return None
        return {
            "version": version.number,
            "name": version.name,
            "options": version.options,
            "content": version.content,
        }

    return {"shared": template.shared, "draft": part(template.draft), "published": part(template.published)}


async def _load(connection: AsyncConnection, ids: Sequence[Id]) -> Mapping[Id, Any]:
    rows = await connection.execute(
        sa.select(templates).where(sa.tuple_(templates.c.subaccount, templates.c.id).in_(ids))
    )
    query = sa.select(template_versions).where(
        sa.tuple_(template_versions.c.subaccount, template_versions.c.id).in_(ids)
    )
    versions: dict[Id, list[Row[Any]]] = {}
    for version in await connection.execute(query):
        versions.setdefault((version.subaccount, version.id), []).append(version)
    return {(row.subaccount, row.id): _seen(_template(row, versions.get((row.subaccount, row.id), []))) for row in rows}


async def _everything(connection: AsyncConnection) -> AsyncIterator[tuple[Id, Any]]:
    rows = (await connection.execute(sa.select(templates.c.subaccount, templates.c.id))).all()
    for start in range(0, len(rows), 100):
        ids = [(row.subaccount, row.id) for row in rows[start : start + 100]]
        for key, value in (await _load(connection, ids)).items():
            yield key, value


TEMPLATES = Kind(KIND, _load, _everything)
