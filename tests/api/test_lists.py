"""/recipient-lists through the live API, on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

from tests.api.harness import Answer
from tests.api.office import Open

ONE: dict[str, Any] = {
    "address": {"email": "a@b.example", "name": "A", "header_to": "x@y.example"},
    "tags": ["t"],
    "metadata": {"m": [1, None]},
    "substitution_data": {"s": {"deep": "é"}},
    "return_path": "r@b.example",
    "options": {"open_tracking": False},
}
VIP: dict[str, Any] = {
    "id": "vip",
    "name": "VIP customers",
    "description": "d",
    "attributes": {"internal": {"b": 1, "a": None}},
    "recipients": [ONE, {"address": "b@b.example"}, "c@b.example"],
}


def told(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = answer.body["errors"][0]
    return found


async def test_it_is_stored_and_shown(management: Open) -> None:
    api = management.api
    answer = await api("POST", "/recipient-lists", {**VIP, "num_rcpt_errors": 3, "unknown": 1})
    assert (answer.status, answer.body) == (
        200,
        {
            "results": {
                "id": "vip",
                "name": "VIP customers",
                "total_rejected_recipients": 0,
                "total_accepted_recipients": 3,
            }
        },
    )
    plain = {
        "id": "vip",
        "name": "VIP customers",
        "description": "d",
        "attributes": {"internal": {"b": 1, "a": None}},
        "total_accepted_recipients": 3,
    }
    for path in ("/recipient-lists/vip", "/recipient-lists/vip?show_recipients=false"):
        assert (await api("GET", path)).body["results"] == plain
    assert (await api("GET", "/recipient-lists")).body["results"] == [plain]
    assert (await api("GET", "/recipient-lists/vip?show_recipients=true")).body["results"] == {
        **plain,
        "recipients": [ONE, {"address": "b@b.example"}, {"address": {"email": "c@b.example"}}],
    }
    assert (await api("GET", "/recipient-lists/vip?show_recipients=1")).status == 400


async def test_defaults(management: Open) -> None:
    answer = await management.api("POST", "/recipient-lists", {"name": None, "recipients": ["a@b.example"]})
    key = answer.body["results"]["id"]
    assert answer.body["results"]["name"] == key
    found = (await management.api("GET", f"/recipient-lists/{key}")).body["results"]
    assert (found["description"], found["attributes"]) == ("", {})


async def test_some_are_refused(management: Open) -> None:
    api = management.api
    bad: list[tuple[Any, str, str]] = [
        ({}, "1400", "address is required for each recipient"),
        ({"address": {"name": "n"}}, "1400", "address.email is required for each recipient"),
        ({"address": "xyz"}, "1300", "invalid recipient address.email: xyz"),
        ("", "1400", "address.email is required for each recipient"),
        (7, "1300", "recipients[4]"),
        (None, "1300", "recipients[5]"),
        ([], "1300", "recipients[6]"),
        ({"address": {"email": 1}}, "1300", "recipients[7]: 'address.email'"),
        ({"address": "a@b.example", "tags": "x"}, "1300", "recipients[8]: 'tags'"),
        ({"address": "a@b.example", "metadata": []}, "1300", "recipients[9]: 'metadata'"),
        ({"address": "a@b.example\r\nBcc: x@y.example"}, "1300", "invalid recipient address.email"),
        ({"address": {"email": "a@b.example", "name": "a\r\nBcc: x"}}, "3002", "recipient a@b.example: address.name"),
        (
            {"address": {"email": "a@b.example", "header_to": "a\nb"}},
            "3002",
            "recipient a@b.example: address.header_to",
        ),
        ({"address": "a@b.example", "return_path": "nobody"}, "1300", "recipient a@b.example: return_path"),
        ({"address": "a@b.example", "metadata": {"x": "y" * 10_300}}, "2007", "recipient a@b.example: metadata"),
        ({"address": "a@b.example", "substitution_data": {"x": "y" * 103_000}}, "2002", "recipient a@b.example: sub"),
    ]
    entries = [entry for entry, _, _ in bad]
    for method, path in (("POST", "/recipient-lists"), ("PUT", "/recipient-lists/some")):
        answer = await api(method, path, {"id": "some", "recipients": [*entries, ONE]})
        assert answer.status == 200
        assert answer.body["errors"] == [{"message": "List created with validation errors", "code": "5000"}]
        results = answer.body["results"]
        assert (results["total_rejected_recipients"], results["total_accepted_recipients"]) == (len(bad), 1)
        for error, (entry, code, description) in zip(results["rcpt_to_errors"], bad, strict=True):
            assert error["code"] == code, entry
            assert error["description"].startswith(description), (entry, error)
    found = (await api("GET", "/recipient-lists/some?show_recipients=true")).body["results"]
    assert found["recipients"] == [ONE]
    answer = await api("POST", "/recipient-lists?num_rcpt_errors=1", {"id": "n", "recipients": [*entries, ONE]})
    assert len(answer.body["results"]["rcpt_to_errors"]) == 1
    assert answer.body["results"]["total_rejected_recipients"] == len(bad)
    assert (await api("POST", "/recipient-lists?num_rcpt_errors=x", VIP)).status == 400


async def test_all_are_refused(management: Open) -> None:
    api = management.api
    await api("POST", "/recipient-lists", VIP)
    for recipients in ([], ["x"], [{}, 1]):
        for method, path in (("POST", "/recipient-lists"), ("PUT", "/recipient-lists/vip")):
            answer = await api(method, path, {"recipients": recipients})
            assert (answer.status, told(answer)["code"]) == (400, "5002")
            assert told(answer)["message"] == "At least one valid recipient is required"
    assert (await api("GET", "/recipient-lists/vip")).body["results"]["total_accepted_recipients"] == 3


async def test_a_change(management: Open) -> None:
    api = management.api
    await api("POST", "/recipient-lists", VIP)
    nulls = dict.fromkeys(("id", "name", "description", "attributes", "recipients"))
    answer = await api("PUT", "/recipient-lists/vip", {**nulls, "description": ""})
    assert (answer.status, answer.body) == (200, {"results": {"id": "vip", "name": "VIP customers"}})
    answer = await api("PUT", "/recipient-lists/vip", {"name": "New", "attributes": {"c": 1}, "id": "vip"})
    assert answer.body == {"results": {"id": "vip", "name": "New"}}
    found = (await api("GET", "/recipient-lists/vip")).body["results"]
    assert found == {
        "id": "vip",
        "name": "New",
        "description": "",
        "attributes": {"c": 1},
        "total_accepted_recipients": 3,
    }
    answer = await api("PUT", "/recipient-lists/vip", {"recipients": ["d@b.example"]})
    assert answer.body["results"]["total_accepted_recipients"] == 1
    found = (await api("GET", "/recipient-lists/vip?show_recipients=true")).body["results"]
    assert found["recipients"] == [{"address": {"email": "d@b.example"}}]
    assert found["total_accepted_recipients"] == 1


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"id": "rcptlist_x"}, 422, "1300", "List id 'rcptlist_x' cannot start with 'rcptlist_'"),
    ({"id": "x" * 65}, 422, "1300", "id is limited to 64 bytes"),
    ({"id": ""}, 422, "1300", "'id' must not be empty"),
    ({"id": "a/b"}, 422, "1300", "'id' must not be empty and not hold a /"),
    ({"id": "a\r\nb"}, 422, "1300", "'id' must not contain control characters"),
    ({"name": "é" * 33}, 422, "1300", "name is limited to 64 bytes"),
    ({"name": "a\0b"}, 422, "1300", "'name' must not contain control characters"),
    ({"description": "x" * 1025}, 422, "1300", "description is limited to 1024 bytes"),
    ({"attributes": []}, 422, "1300", "'attributes' must be an object"),
    ({"attributes": {"x": "y" * 103_000}}, 422, "1300", "attributes is limited to 102400 bytes"),
    ({"recipients": None}, 422, "1400", "recipients is a required field"),
    ({"recipients": {"list_id": "x"}}, 422, "1300", "'recipients' must be an array"),
    ({"recipients": ["a@b.example"] * 100_001}, 422, "1300", "recipients is limited to 100000 entries"),
]


async def test_refused(management: Open) -> None:
    api = management.api
    for change, status, code, description in REFUSED:
        answer = await api("POST", "/recipient-lists", {**VIP, **change})
        assert (answer.status, told(answer)["code"]) == (status, code), (change, answer.body)
        assert told(answer)["description"].startswith(description), answer.body
    for body in (b"", b"[]", b"{", b"[" * 100_000):
        assert (await api("POST", "/recipient-lists", body)).status == 400
    assert (await api("GET", "/recipient-lists")).body["results"] == []
    for method, sent in (("GET", None), ("PUT", {"name": "x"}), ("DELETE", None)):
        answer = await api(method, "/recipient-lists/vip", sent)
        assert answer.status == 404
        assert told(answer) == {
            "message": "resource not found",
            "description": "List 'vip' does not exist",
            "code": "1600",
        }
    await api("POST", "/recipient-lists", VIP)
    answer = await api("POST", "/recipient-lists", VIP)
    assert answer.status == 400
    assert told(answer) == {
        "message": "List already exists",
        "description": "List 'vip' already exists",
        "code": "5001",
    }
    answer = await api("PUT", "/recipient-lists/vip", {"id": "other"})
    assert told(answer)["description"] == "List id 'other' does not match the list being updated"
    for method in ("PUT", "DELETE"):
        answer = await api(method, "/recipient-lists")
        assert told(answer) == {
            "message": "invalid uri",
            "description": f"{method} requires a recipient list id in the URI",
            "code": "1101",
        }


async def test_deleting(management: Open) -> None:
    api = management.api
    await api("POST", "/recipient-lists", {**VIP, "id": "with space & ümlaut"})
    path = "/recipient-lists/with%20space%20%26%20%C3%BCmlaut"
    assert (await api("GET", path)).status == 200
    answer = await api("DELETE", path)
    assert (answer.status, answer.body) == (200, {"results": {}})
    assert (await api("GET", path)).status == 404


async def test_subaccounts(management: Open) -> None:
    api, seven, eight = management.api, management.api.of(7), management.api.of(8)
    await api("POST", "/recipient-lists", VIP)
    await seven("POST", "/recipient-lists", {**VIP, "id": "own", "name": "of 7"})
    await seven("POST", "/recipient-lists", {**VIP, "name": "of 7"})
    for method, body in (("GET", None), ("PUT", {"name": "x"}), ("DELETE", None)):
        for key in ("vip", "own"):
            assert (await eight(method, f"/recipient-lists/{key}", body)).status == 404
    assert (await eight("GET", "/recipient-lists")).body["results"] == []
    await seven("DELETE", "/recipient-lists/vip")
    found = (await api("GET", "/recipient-lists")).body["results"]
    assert [(each["id"], each.get("subaccount_id")) for each in found] == [("vip", None), ("own", 7)]
    assert (await api("GET", "/recipient-lists/own", subaccount=0)).status == 404
    assert (await api("GET", "/recipient-lists/own", subaccount=7)).body["results"]["name"] == "of 7"


async def test_a_large_list(management: Open) -> None:
    recipients = [{"address": f"u{n}@b.example", "substitution_data": {"n": n}} for n in range(20_000)]
    answer = await management.api("POST", "/recipient-lists", {"id": "large", "recipients": recipients})
    assert answer.body["results"]["total_accepted_recipients"] == 20_000
    found = await management.api("GET", "/recipient-lists/large?show_recipients=true")
    assert found.body["results"]["recipients"] == recipients
