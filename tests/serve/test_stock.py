"""What an engine's transmissions find in its catalog, and whose it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from postroad.generate.template import Kind
from postroad.inject.http import Absent, AccountOptions, StoredTemplate
from postroad.serve.stock import CatalogStock
from postroad.store.access import engine_catalog
from postroad.store.catalog import Catalog
from postroad.store.catalogfile import Place
from postroad.store.seen import AB_TEST, ACCOUNT, RECIPIENT_LIST, SNIPPET, TEMPLATE, Plan


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return engine_catalog(tmp_path)


@pytest.fixture
def stock(catalog: Catalog) -> CatalogStock:
    return CatalogStock(catalog, lambda: 100.0)


def put(catalog: Catalog, kind: str, subaccount: int, key: str, value: Any) -> None:
    catalog.values(kind).put(subaccount, key, msgspec.msgpack.encode(value), Place(0, 0))


def template(subject: str, *, shared: bool = False, draft: bool = False, **options: bool) -> dict[str, Any]:
    content = {"from": {"email": "a@b.example"}, "subject": subject, "text": "t"}
    version = {"version": 3, "name": "n", "options": options, "content": content}
    return {"shared": shared, "draft": version if draft else None, "published": None if draft else version}


def subject(found: StoredTemplate | Absent) -> str | Absent | None:
    return found.content.subject if isinstance(found, StoredTemplate) else found


def test_templates(catalog: Catalog, stock: CatalogStock) -> None:
    put(catalog, TEMPLATE, 0, "shared", template("primary", shared=True, transactional=True, open_tracking=False))
    put(catalog, TEMPLATE, 0, "private", template("private"))
    put(catalog, TEMPLATE, 7, "own", template("draft", draft=True))
    found = stock.template(7, "shared", draft=False)
    assert isinstance(found, StoredTemplate) and found.options is not None
    assert (found.id, found.version, found.transactional) == ("shared", 3, True)
    assert (found.options.open_tracking, found.options.click_tracking) == (False, None)
    assert subject(stock.template(0, "private", draft=False)) == "private"
    assert stock.template(7, "private", draft=False) is Absent.UNKNOWN
    assert stock.template(8, "own", draft=True) is Absent.UNKNOWN
    assert stock.template(0, "own", draft=True) is Absent.UNKNOWN
    assert subject(stock.template(7, "own", draft=True)) == "draft"
    assert stock.template(7, "own", draft=False) is Absent.NO_PUBLISHED
    assert stock.template(7, "shared", draft=True) is Absent.NO_DRAFT
    # A change counts at once; one's own comes before what is shared.
    put(catalog, TEMPLATE, 0, "shared", template("changed", shared=True))
    assert subject(stock.template(7, "shared", draft=False)) == "changed"
    put(catalog, TEMPLATE, 7, "shared", template("own"))
    assert [subject(stock.template(n, "shared", draft=False)) for n in (0, 7, 8)] == ["changed", "own", "changed"]
    catalog.values(TEMPLATE).drop(7, "shared")
    put(catalog, TEMPLATE, 0, "shared", template("private now"))
    assert stock.template(7, "shared", draft=False) is Absent.UNKNOWN


def test_more_templates_than_stay_decoded(catalog: Catalog, stock: CatalogStock) -> None:
    for _ in range(2):
        for number in range(400):
            put(catalog, TEMPLATE, 0, f"t{number}", template(str(number)))
            assert subject(stock.template(0, f"t{number}", draft=False)) == str(number)
    assert [subject(stock.template(0, f"t{number}", draft=False)) for number in (0, 399)] == ["0", "399"]


def test_snippets(catalog: Catalog, stock: CatalogStock) -> None:
    put(catalog, SNIPPET, 0, "s", {"shared": True, "content": {"html": "<b>{{x}}"}})
    found = stock.snippet(7, "s", Kind.HTML)
    assert found is not None and found.render({"x": "&"}) == "<b>&amp;"
    assert stock.snippet(7, "s", Kind.HTML) is found
    assert stock.snippet(7, "s", Kind.TEXT) is None
    assert stock.snippet(7, "other", Kind.HTML) is None
    put(catalog, SNIPPET, 0, "s", {"shared": False, "content": {"text": "{{"}})
    assert stock.snippet(7, "s", Kind.TEXT) is None
    assert stock.snippet(0, "s", Kind.TEXT) is None  # not of the language


def test_ab_tests_and_lists(catalog: Catalog, stock: CatalogStock) -> None:
    put(catalog, AB_TEST, 7, "ab", Plan(1, "plain", [("plain", 0.0), ("shout", 1.0)], 50_000, 150_000))
    assert stock.ab_test(7, "ab", "a@b.example") == "shout"
    assert stock.ab_test(0, "ab", "a@b.example") is None
    assert stock.recipients(0, "all") is None


def test_the_account(catalog: Catalog, stock: CatalogStock) -> None:
    assert stock.account() == AccountOptions()
    put(catalog, ACCOUNT, 0, "", {"click_tracking": False, "of_tomorrow": True})
    assert stock.account() == AccountOptions(click_tracking=False)
    put(catalog, ACCOUNT, 0, "", {"transactional_default": True})
    assert stock.account() == AccountOptions(transactional_default=True)


def test_a_list_that_can_not_be_read(catalog: Catalog, stock: CatalogStock) -> None:
    catalog.placed(RECIPIENT_LIST).put(7, "all", b"", Place(10, 10))
    assert stock.recipients(7, "all") is None
