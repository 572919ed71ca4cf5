"""/suppression-list, over the live API on both databases."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from postroad.api.suppressionrows import folded
from postroad.message.address import AddressError
from postroad.store.suppressionlist import COMPLIANCE, Suppression, put
from tests.api.office import Open

DONE = {"results": {"message": "Suppression List successfully updated"}}
MISSING = {"errors": [{"message": "Recipient could not be found"}]}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("A.B@Example.COM", "a.b@example.com"),
        (" x@BÜCHER.example ", "x@xn--bcher-kva.example"),
        ("É@x.test", "é@x.test"),
    ],
)
def test_addresses_are_folded(given: str, wanted: str) -> None:
    assert folded(given) == wanted


@pytest.mark.parametrize("bad", ["", "x", "a@b@", "a\r\nb@c.test", "@x.test", "a@-.test", "x" * 400 + "@a.test"])
def test_what_is_no_address(bad: str) -> None:
    with pytest.raises(AddressError):
        folded(bad)


async def rows(management: Open, query: str = "", **more: int) -> list[tuple[str, str]]:
    answer = await management.api("GET", f"/suppression-list{query}", **more)  # type: ignore[arg-type]
    assert answer.status == 200, answer.body
    assert answer.body["total_count"] >= len(answer.body["results"])
    return [(row["recipient"], row["type"]) for row in answer.body["results"]]


async def test_an_entry_from_its_making_to_its_end(management: Open) -> None:
    api = management.api
    body = {"type": "non_transactional", "description": "asked by phone", "list_id": "news.example.com"}
    answer = await api("PUT", "/suppression-list/Ann+x@Example.COM", body)
    assert (answer.status, answer.body["results"]["message"]) == (200, "Suppression list successfully updated")
    (shown,) = (await api("GET", "/suppression-list/ann%2Bx%40example.com")).body["results"]
    created = shown.pop("created")
    assert created.endswith("+00:00") and shown.pop("updated") == created
    assert shown == {
        "recipient": "ann+x@example.com",
        "type": "non_transactional",
        "source": "Manually Added",
        "description": "asked by phone",
        "list_id": "news.example.com",
        "non_transactional": True,
    }
    assert (await api("DELETE", "/suppression-list/ann+x@example.com?list_id=other")).status == 404
    assert (await api("DELETE", "/suppression-list/ann+x@example.com?list_id=")).status == 404
    answer = await api("DELETE", "/suppression-list/ANN+x@example.com?list_id=news.example.com")
    assert (answer.status, answer.body) == (204, None)
    assert (await api("GET", "/suppression-list/ann+x@example.com")).body == MISSING
    assert (await api("DELETE", "/suppression-list/ann+x@example.com")).body == MISSING


async def test_what_clients_of_all_ages_send(management: Open) -> None:
    """The forms of api.md 8.3 and 23: email for recipient, booleans for type, both of them true."""
    entries = [
        {"recipient": "new@x.test", "type": "transactional"},
        {"email": "old@x.test", "transactional": True, "non_transactional": True},
        {"email": "half@x.test", "transactional": False, "non_transactional": True, "unknown": 1},
        {"recipient": "new@x.test", "type": "transactional", "description": "the first of two counts"},
        {"recipient": "gone@bücher.example", "type": "non_transactional", "description": None},
    ]
    answer = await management.api("PUT", "/suppression-list/", {"recipients": entries})
    assert (answer.status, answer.body) == (200, DONE)
    assert sorted(await rows(management)) == [
        ("gone@xn--bcher-kva.example", "non_transactional"),
        ("half@x.test", "non_transactional"),
        ("new@x.test", "transactional"),
        ("old@x.test", "non_transactional"),
        ("old@x.test", "transactional"),
    ]
    (row,) = (await management.api("GET", "/suppression-list/new@x.test")).body["results"]
    assert "description" not in row
    answer = await management.api("DELETE", "/suppression-list/old@x.test", {"type": "transactional"})
    assert answer.status == 204
    assert await rows(management, "?domain=x.test&types=transactional") == [("new@x.test", "transactional")]
    assert len(await rows(management, "?types=transactional&types=non_transactional&limit=5&from=2020-01-01")) == 4


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"type": "transactional"}], "PUT body contains 1 invalid or malformed recipient(s): "),
        (
            [{"recipient": "a b", "type": "transactional"}, {"recipient": "x", "type": "transactional"}],
            "PUT body contains 2 invalid or malformed recipient(s): a b, x",
        ),
        ([{"recipient": "a@b.test"}], "Must supply a suppression type"),
        ([{"recipient": "a@b.test", "transactional": False}], "Must supply a suppression type"),
        ([{"recipient": "a@b.test", "type": "all"}], "Type must be one of: 'transactional', 'non_transactional'"),
        ([{"recipient": "a@b.test", "type": "transactional", "list_id": ".x"}], "list_id '.x' is invalid"),
        ([{"recipient": "a@b.test", "type": "transactional", "list_id": "a..b"}], "list_id 'a..b' is invalid"),
        ([{"recipient": "a@b.test\r\nx", "type": "transactional"}], None),
        (
            [{"recipient": "a@b.test", "type": "transactional", "expires": "2020-01-01"}],
            "expires must be in the future",
        ),
        ([{"recipient": "a@b.test", "type": "transactional", "expires": "soon"}], None),
        ([{"recipient": 7, "type": "transactional"}], None),
        (
            [{"recipient": "a@b.test", "type": "transactional", "description": "a\0b"}],
            "description must not contain control characters",
        ),
        ([], None),
        ("a@b.test", None),
        (None, None),
        ([{"recipient": "a@b.test", "type": "transactional", "description": "x" * 2000}], None),
    ],
)
async def test_refused_whole(management: Open, entries: object, message: str | None) -> None:
    good = {"recipient": "good@x.test", "type": "transactional"}
    sent = [good, *entries] if isinstance(entries, list) and entries else entries
    answer = await management.api("PUT", "/suppression-list", {"recipients": sent})
    assert answer.status in (400, 422), answer.body
    assert message is None or answer.body["errors"][0]["message"] == message
    assert await rows(management) == []


async def test_too_many_at_once(management: Open) -> None:
    entries = [{"recipient": f"{number}@x.test", "type": "transactional"} for number in range(10_001)]
    assert (await management.api("PUT", "/suppression-list", {"recipients": entries})).status == 422
    assert (await management.api("PUT", "/suppression-list", {"recipients": entries[:10_000]})).body == DONE
    counts = (await management.api("GET", "/suppression-list/summary")).body["results"]
    assert (counts["manually_added"], counts["total"], counts["bounce_rule"]) == (10_000, 10_000, 0)


async def test_pages(management: Open) -> None:
    entries = [{"recipient": f"{number}@x.test", "type": "transactional", "description": "a b"} for number in range(25)]
    await management.api("PUT", "/suppression-list", {"recipients": entries})
    path, seen = "/suppression-list?per_page=10&description=b&sources=Manually%20Added&sort=asc", []
    while path:
        answer = await management.api("GET", path)
        seen += [row["recipient"] for row in answer.body["results"]]
        assert answer.body["total_count"] == 25
        links = {link["rel"]: link["href"] for link in answer.body["links"]}
        path = links.get("next", "")
    assert sorted(seen) == sorted(entry["recipient"] for entry in entries)
    assert len(await rows(management, "?per_page=10&page=3")) == 5
    assert len(await rows(management, "?per_page=10&cursor=initial")) == 10


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "per_page=0",
        "per_page=10001",
        "sources=Nobody",
        "types=all",
        "from=yesterday",
        "to=2026-99-99",
        "list_id=a..b",
        "sort=up",
        "description_strict=yes",
        "domain=a%20b",
    ],
)
async def test_queries_that_make_no_sense(management: Open, query: str) -> None:
    answer = await management.api("GET", f"/suppression-list?{query}")
    assert (answer.status, answer.body["errors"][0]["code"]) == (400, "1200")


async def test_compliance_stays(management: Open) -> None:
    async with management.office.database.begin() as tx:
        await put(tx, [Suppression(0, "law@x.test", False, source=COMPLIANCE)], 1)
    answer = await management.api("PUT", "/suppression-list/law@x.test", {"type": "non_transactional"})
    assert answer.status == 403
    answer = await management.api("DELETE", "/suppression-list/law@x.test")
    assert answer.status == 403 and "Compliance" in answer.body["errors"][0]["message"]
    entries = [{"recipient": name, "type": "non_transactional"} for name in ("law@x.test", "other@x.test")]
    assert (await management.api("PUT", "/suppression-list", {"recipients": entries})).body == DONE
    (law,) = (await management.api("GET", "/suppression-list/law@x.test")).body["results"]
    assert law["source"] == COMPLIANCE


async def test_what_ends_by_itself(management: Open) -> None:
    body = {"type": "transactional", "expires": "2999-01-01T00:00:00+02:00"}
    assert (await management.api("PUT", "/suppression-list/a@b.test", body)).status == 200
    (row,) = (await management.api("GET", "/suppression-list/a@b.test")).body["results"]
    assert row["expires"] == "2998-12-31T22:00:00+00:00"


async def test_subaccounts_have_lists_of_their_own(management: Open) -> None:
    seven, eight = management.api.of(7), management.api.of(8)
    address = "/suppression-list/" + quote("a@b.test")
    assert (await seven("PUT", address, {"type": "transactional"})).status == 200
    assert (await eight("GET", address)).body == MISSING
    assert (await eight("DELETE", address)).body == MISSING
    assert (await management.api("DELETE", address)).body == MISSING  # that of the primary account
    assert (await management.api("DELETE", address, subaccount=8)).body == MISSING
    assert (await eight("GET", "/suppression-list")).body == {"results": [], "links": [], "total_count": 0}
    assert (await eight("GET", "/suppression-list/summary")).body["results"]["total"] == 0
    assert await rows(management, subaccount=8) == []
    (row,) = (await management.api("GET", address)).body["results"]  # which looks over all
    assert row["subaccount_id"] == "7"
    assert (await seven("DELETE", address)).status == 204


CSV = {"Content-Type": "text/csv"}
JSONL = {"Content-Type": "application/x-ndjson; charset=utf-8"}


async def test_a_file_goes_in_and_comes_out(management: Open) -> None:
    api = management.api
    lines = ["recipient,type,description,source,reply,expires,subaccount_id"]
    lines += [f"{n}@x.test,transactional,why {n},Bounce Rule,550 no such user,," for n in range(6000)]
    lines += ["old@x.test,transactional,,,,2020-01-01,", "7@y.test,non_transactional,,,,2999-01-01,7"]
    file = "\r\n".join(lines).encode()
    answer = await api("POST", "/suppression-list/import?dry_run=true", file, headers=CSV)
    counts = {"entries": 6001, "written": 0, "expired": 1, "invalid": 0, "errors": [], "dry_run": True}
    assert (answer.status, answer.body) == (200, {"results": counts})
    assert await rows(management) == []
    answer = await api("POST", "/suppression-list/import", file, headers=CSV)
    assert answer.body["results"] == {**counts, "written": 6001, "dry_run": False}
    (shown,) = (await api("GET", "/suppression-list/11@x.test")).body["results"]
    assert (shown["source"], shown["description"]) == ("Bounce Rule", "why 11")
    assert shown["evidence"] == {"reply": "550 no such user"}
    (shown,) = (await api("GET", "/suppression-list/7@y.test")).body["results"]
    assert (shown["subaccount_id"], shown["expires"]) == ("7", "2999-01-01T00:00:00+00:00")
    for form, kind in (("csv", CSV), ("jsonl", JSONL)):
        out = await api("GET", f"/suppression-list/export?format={form}")
        assert out.headers["content-type"].startswith(kind["Content-Type"].partition(";")[0])
        assert out.headers["content-disposition"] == f'attachment; filename="suppression-list.{form}"'
        assert len(out.body.splitlines()) == 6001 + (form == "csv")
        answer = await api("POST", "/suppression-list/import", out.body, headers=kind)
        assert (answer.status, answer.body["results"]["written"]) == (200, 6001)
        assert (await api("GET", "/suppression-list/11@x.test")).body["results"][0]["evidence"]
    some = await api("GET", "/suppression-list/export?domain=y.test&format=jsonl")
    assert [line.partition(b'"')[2][:22] for line in some.body.splitlines()] == [b'recipient":"7@y.test",']


async def test_bad_files(management: Open) -> None:
    api = management.api
    file = b"recipient,type\ngood@x.test,transactional\nbad,transactional\nbad@x.test,all\n"
    answer = await api("POST", "/suppression-list/import", file, headers=CSV)
    assert answer.status == 422
    assert [error["description"][:22] for error in answer.body["errors"]] == [
        "line 3: 'bad' is no ad",
        "line 4: Type must be o",
    ]
    assert await rows(management) == []
    answer = await api("POST", "/suppression-list/import?skip_invalid=true", file, headers=CSV)
    found = answer.body["results"]
    assert (found["written"], found["invalid"], [error["line"] for error in found["errors"]]) == (1, 2, [3, 4])
    assert await rows(management) == [("good@x.test", "transactional")]
    many = b"recipient,type\n" + b"bad,transactional\n" * 1000
    answer = await api("POST", "/suppression-list/import", many, headers=CSV)
    assert (answer.status, len(answer.body["errors"])) == (422, 50)
    for body, kind, status in (
        (b"x", CSV, 422),
        (b"recipient\n\xff", CSV, 422),
        (b"recipient\n", {"Content-Type": "application/json"}, 415),
        (b"recipient\n", {"Content-Type": ""}, 415),
    ):
        answer = await api("POST", "/suppression-list/import?skip_invalid=true", body, headers=kind)
        assert answer.status == status, answer.body
    assert (await api("POST", "/suppression-list/import?dry_run=perhaps", file, headers=CSV)).status == 400
    assert (await api("GET", "/suppression-list/export?format=xml")).status == 400
    assert (await api("POST", "/suppression-list/import", b"", headers=CSV)).body["results"]["entries"] == 0


async def test_a_file_that_is_too_long(management: Open) -> None:
    head = b"recipient,transactional,non_transactional\n"
    lines = b"".join(b"%d@x.test,1,1\n" % number for number in range(250_001))
    answer = await management.api("POST", "/suppression-list/import", head + lines, headers=CSV)
    assert answer.status == 422
    assert answer.body["errors"][0]["description"] == "a file is limited to 500000 entries; send it in parts"
    assert await rows(management) == []


async def test_files_of_subaccounts(management: Open) -> None:
    seven, eight = management.api.of(7), management.api.of(8)
    assert (await eight("PUT", "/suppression-list/eight@x.test", {"type": "transactional"})).status == 200
    plain = b"recipient,type\na@x.test,transactional\n"
    assert (await seven("POST", "/suppression-list/import", plain, headers=CSV)).body["results"]["written"] == 1
    assert await rows(management, subaccount=7) == [("a@x.test", "transactional")]
    named = b"recipient,type,subaccount_id\nb@x.test,transactional,%d\n"
    for api, subaccount, number, status in (
        (seven, None, 8, 422),
        (seven, None, 0, 422),
        (seven, None, 7, 200),
        (management.api, 7, 8, 422),
        (management.api, 0, 7, 422),
        (management.api, None, 5, 422),
        (management.api, None, 8, 200),
    ):
        answer = await api("POST", "/suppression-list/import", named % number, headers=CSV, subaccount=subaccount)
        assert answer.status == status, answer.body
    out = (await seven("GET", "/suppression-list/export?format=jsonl")).body
    assert out.count(b"\n") == 2 and b"eight@" not in out


async def test_a_file_leaves_compliance_alone(management: Open) -> None:
    async with management.office.database.begin() as tx:
        await put(tx, [Suppression(0, "law@x.test", False, source=COMPLIANCE, description="law")], 1)
    file = b"recipient,type\nlaw@x.test,non_transactional\n"
    answer = await management.api("POST", "/suppression-list/import", file, headers=CSV)
    assert (answer.body["results"]["entries"], answer.body["results"]["written"]) == (1, 0)
    (law,) = (await management.api("GET", "/suppression-list/law@x.test")).body["results"]
    assert law["description"] == "law"
