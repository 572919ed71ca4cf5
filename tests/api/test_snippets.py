"""/snippets through the live API, on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

from tests.api.harness import Answer
from tests.api.office import Open

LEGAL: dict[str, Any] = {
    "id": "legal",
    "name": "Legal note",
    "content": {"text": "{{company}}", "html": "<p>{{company}}</p>"},
}


def told(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = answer.body["errors"][0]
    return found


async def test_it_is_stored_and_shown(management: Open) -> None:
    api = management.api
    for base in ("/api/labs", "/api/v1"):
        answer = await api("POST", f"{base}/snippets", {**LEGAL, "x": 1})
        assert (answer.status, answer.body) == (200, {"results": {"id": "legal"}})
        found = (await api("GET", f"{base}/snippets/legal")).body["results"]
        assert found["created_at"] == found["updated_at"] and found["created_at"].endswith("Z")
        assert {name: found[name] for name in found if not name.endswith("_at")} == {
            **LEGAL,
            "shared_with_subaccounts": False,
        }
        assert [each["id"] for each in (await api("GET", f"{base}/snippets")).body["results"]] == ["legal"]
        answer = await api("DELETE", f"{base}/snippets/legal")
        assert (answer.status, answer.body) == (204, None)
        assert (await api("GET", f"{base}/snippets/legal")).status == 404
    await api("POST", "/snippets", {"id": "a", "content": {"text": "x", "html": "", "amp_html": None}})
    found = (await api("GET", "/snippets/a")).body["results"]
    assert (found["name"], found["content"]) == ("a", {"text": "x"})


async def test_parts_are_merged(management: Open) -> None:
    api = management.api
    await api("POST", "/snippets", LEGAL)
    before = (await api("GET", "/snippets/legal")).body["results"]
    answer = await api("PUT", "/snippets/legal", {"content": {"html": "", "amp_html": "<b>"}, "id": "legal"})
    assert (answer.status, answer.body) == (200, {"results": {"id": "legal"}})
    await api("PUT", "/snippets/legal", {"name": "New", "content": None, "shared_with_subaccounts": True})
    after = (await api("GET", "/snippets/legal")).body["results"]
    assert after["content"] == {"text": "{{company}}", "amp_html": "<b>"}
    assert (after["name"], after["shared_with_subaccounts"]) == ("New", True)
    assert after["created_at"] == before["created_at"] <= after["updated_at"]
    answer = await api("PUT", "/snippets/legal", {"content": {"text": "", "amp_html": ""}})
    assert (answer.status, told(answer)["code"]) == (422, "1400")


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"id": None}, "1400", "id is a required field"),
    ({"id": "a b"}, "1300", "'id' must consist of"),
    ({"id": "x" * 65}, "1300", "id is limited to 64 bytes"),
    ({"name": "x" * 1025}, "1300", "name is limited to 1024 bytes"),
    ({"name": "a\nb"}, "1300", "'name' must not contain control characters"),
    ({"content": None}, "1400", "content is a required field"),
    ({"content": {}}, "1400", "content is a required field"),
    ({"content": {"text": ""}}, "1400", "content is a required field"),
    ({"content": {"text": 1}}, "1300", "'content.text' must be a string"),
    ({"content": "x"}, "1300", "'content' must be an object"),
    ({"content": {"html": "é" * 50_001}}, "1300", "content.html is limited to 100000 bytes"),
    ({"shared_with_subaccounts": 1}, "1300", "'shared_with_subaccounts' must be a boolean"),
]


async def test_refused(management: Open) -> None:
    api = management.api
    for change, code, description in REFUSED:
        answer = await api("POST", "/snippets", {**LEGAL, **change})
        assert (answer.status, told(answer)["code"]) == (422, code), change
        assert told(answer)["description"].startswith(description), change
    for body in (b"", b"[]", b"{", b"[" * 100_000):
        assert (await api("POST", "/snippets", body)).status == 400
    assert (await api("GET", "/snippets")).body["results"] == []
    for method, sent in (("GET", None), ("PUT", {"name": "x"}), ("DELETE", None)):
        answer = await api(method, "/snippets/legal", sent)
        assert (answer.status, told(answer)["code"]) == (404, "1600")
    await api("POST", "/snippets", LEGAL)
    answer = await api("POST", "/snippets", LEGAL)
    assert (answer.status, told(answer)["description"]) == (409, "Snippet 'legal' already exists")
    answer = await api("PUT", "/snippets/legal", {"id": "other"})
    assert (answer.status, told(answer)["code"]) == (422, "1300")


async def test_syntax_is_told_in_the_message(management: Open) -> None:
    api = management.api
    await api("POST", "/snippets", LEGAL)
    for method, path in (("POST", "/snippets"), ("PUT", "/snippets/legal")):
        answer = await api(method, path, {**LEGAL, "content": {"text": "{{ name"}})
        assert answer.status == 422
        assert told(answer)["message"] == (
            "Error while compiling part text: line 1: substitution statement missing ending '}}'"
        )
    # A snippet may not render another one (api.md 4.11).
    answer = await api("POST", "/snippets", {"id": "b", "content": {"html": '{{ render_snippet("a") }}'}})
    assert answer.status == 422


async def test_subaccounts(management: Open) -> None:
    api, seven, eight = management.api, management.api.of(7), management.api.of(8)
    await api("POST", "/snippets", {**LEGAL, "id": "shared", "shared_with_subaccounts": True})
    await api("POST", "/snippets", {**LEGAL, "id": "private"})
    await seven("POST", "/snippets", LEGAL)
    for method, body in (("GET", None), ("PUT", {"name": "x"}), ("DELETE", None)):
        for key in ("legal", "private"):
            assert (await eight(method, f"/snippets/{key}", body)).status == 404
    for method, body in (("PUT", {"name": "x"}), ("DELETE", None)):
        assert (await eight(method, "/snippets/shared", body)).status == 403
    assert [each["id"] for each in (await eight("GET", "/snippets")).body["results"]] == ["shared"]
    found = (await api("GET", "/snippets")).body["results"]
    assert [(each["id"], each.get("subaccount_id")) for each in found] == [
        ("private", None),
        ("shared", None),
        ("legal", 7),
    ]
    found = (await api("GET", "/snippets?shared_with_subaccounts=true")).body["results"]
    assert [each["id"] for each in found] == ["shared"]
    answer = await seven("POST", "/snippets", {**LEGAL, "id": "b", "shared_with_subaccounts": True})
    assert (answer.status, told(answer)["code"]) == (422, "1300")
    # A preview sees the snippets of its own account, not of others.
    asked: dict[str, Any] = {"substitution_data": {}, "content": {"text": '{{ render_snippet("legal") }}'}}
    assert (await seven("POST", "/utils/content-previewer", asked)).status == 200
    assert (await eight("POST", "/utils/content-previewer", asked)).status == 422
