"""/templates and /utils/content-previewer through the live API, on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

from postroad.auth import Key
from tests.api.harness import Answer
from tests.api.office import Open

CONTENT = {"from": "hello@a.example", "subject": "Welcome {{name}}", "text": "Hi {{name}}", "html": "<p>{{name}}</p>"}
WELCOME = {"id": "welcome", "name": "Welcome", "content": CONTENT}


def told(answer: Answer) -> dict[str, Any]:
    """The first error."""
    found: dict[str, Any] = answer.body["errors"][0]
    return found


async def shown(management: Open, path: str, **more: Any) -> dict[str, Any]:
    answer = await management.api("GET", path, **more)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.body["results"]
    return found


async def test_a_draft_is_stored_and_shown(management: Open) -> None:
    body = {
        **WELCOME,
        "description": "For new ones\nand old ones",
        "options": {"transactional": True, "open_tracking": False, "click_tracking": None},
        "content": {
            "from": {"email": "hello@a.example", "name": "Hello {{name}}"},
            "subject": "Grüße {{name}}",
            "text": "t",
            "html": "<p>h</p>",
            "amp_html": "<html ⚡4email></html>",
            "reply_to": "a@a.example, b@a.example",
            "headers": {"X-B": "1", "X-A": "{{name}}", "X-None": None},
            "attachments": [{"name": "a.txt", "type": "text/plain", "data": "aGk="}],
            "inline_images": None,
        },
        "unknown": {"is": "ignored"},
        "last_use": "0001-01-01T00:00:00Z",
    }
    answer = await management.api("POST", "/templates", body)
    assert (answer.status, answer.body) == (200, {"results": {"id": "welcome"}})
    found = await shown(management, "/templates/welcome")
    assert found.pop("last_update_time").endswith("+00:00")
    assert found == {
        "id": "welcome",
        "name": "Welcome",
        "description": "For new ones\nand old ones",
        "published": False,
        "has_draft": True,
        "has_published": False,
        "shared_with_subaccounts": False,
        "options": {"transactional": True, "open_tracking": False},
        "content": {
            "from": {"email": "hello@a.example", "name": "Hello {{name}}"},
            "subject": "Grüße {{name}}",
            "text": "t",
            "html": "<p>h</p>",
            "amp_html": "<html ⚡4email></html>",
            "reply_to": "a@a.example, b@a.example",
            "headers": {"X-B": "1", "X-A": "{{name}}"},
            "attachments": [{"name": "a.txt", "type": "text/plain", "data": "aGk="}],
        },
    }
    assert list(found["content"]["headers"]) == ["X-B", "X-A"]


async def test_ids_are_made_of_names(management: Open) -> None:
    for name, made in (("Spring Sale 2026!", "spring-sale-2026"), ("春", None)):
        answer = await management.api("POST", "/templates", {"name": name, "content": CONTENT})
        key = answer.body["results"]["id"]
        assert key == made or (made is None and key.startswith("template-"))
        assert (await shown(management, f"/templates/{key}"))["name"] == name
    await management.api("POST", "/templates", {"id": "only.id_-", "content": CONTENT})
    assert (await shown(management, "/templates/only.id_-"))["name"] == "only.id_-"


async def test_publishing(management: Open) -> None:
    api = management.api
    await api("POST", "/templates", WELCOME)
    assert (await api("GET", "/templates/welcome?draft=false")).status == 404
    answer = await api("PUT", "/templates/welcome", {"published": True})
    assert (answer.status, answer.body) == (200, {"results": {}})
    found = await shown(management, "/templates/welcome")
    assert (found["published"], found["has_draft"], found["has_published"]) == (True, False, True)
    assert told(await api("GET", "/templates/welcome?draft=true"))["description"] == "Template 'welcome' has no draft"
    # An edit makes a draft of the published version, and leaves that alone.
    await api("PUT", "/templates/welcome", {"content": {**CONTENT, "subject": "Two"}, "published": False})
    assert (await shown(management, "/templates/welcome"))["content"]["subject"] == "Two"
    assert (await shown(management, "/templates/welcome?draft=false"))["content"]["subject"] == "Welcome {{name}}"
    # Of the published version alone.
    await api("PUT", "/templates/welcome?update_published=true", {"content": {**CONTENT, "subject": "Three"}})
    found = await shown(management, "/templates/welcome")
    assert (found["published"], found["content"]["subject"]) == (True, "Three")
    assert (await shown(management, "/templates/welcome?draft=true"))["content"]["subject"] == "Two"
    # Edited and published by one request; again changes nothing.
    for _ in range(2):
        await api("PUT", "/templates/welcome", {"name": "Four", "published": True})
        found = await shown(management, "/templates/welcome")
        assert (found["name"], found["content"]["subject"], found["has_draft"]) == ("Four", "Two", False)


async def test_published_at_once(management: Open) -> None:
    await management.api("POST", "/templates", {**WELCOME, "published": True})
    found = await shown(management, "/templates/welcome?draft=false")
    assert (found["published"], found["has_draft"]) == (True, False)


async def test_what_a_change_leaves(management: Open) -> None:
    api = management.api
    first = {**WELCOME, "description": "d", "options": {"open_tracking": True}, "shared_with_subaccounts": True}
    await api("POST", "/templates", first)
    # As python-sparkpost sends it: null for all that was not said (api.md 3.2).
    nulls = {
        "name": None,
        "description": None,
        "published": None,
        "options": {"open_tracking": None, "click_tracking": False},
        "content": dict.fromkeys(("html", "text", "subject", "from", "reply_to", "headers"), None),
    }
    answer = await api("PUT", "/templates/welcome", {**nulls, "id": "welcome"})
    assert answer.status == 200
    found = await shown(management, "/templates/welcome")
    assert (found["name"], found["description"], found["content"]) == ("Welcome", "d", CONTENT)
    assert found["options"] == {"open_tracking": True, "click_tracking": False}
    assert found["shared_with_subaccounts"] is True
    # Content is replaced as a whole.
    await api(
        "PUT", "/templates/welcome", {"description": "", "content": {"from": "b@a.example", "subject": "", "text": "t"}}
    )
    found = await shown(management, "/templates/welcome")
    assert found["content"] == {"from": "b@a.example", "subject": "", "text": "t"}
    assert found["description"] == ""
    assert (await api("PUT", "/templates/welcome", {"shared_with_subaccounts": False})).status == 200
    assert (await shown(management, "/templates/welcome"))["shared_with_subaccounts"] is False


async def test_the_list(management: Open) -> None:
    api = management.api
    await api("POST", "/templates", {**WELCOME, "id": "draft"})
    await api("POST", "/templates", {**WELCOME, "id": "both", "published": True, "shared_with_subaccounts": True})
    await api("PUT", "/templates/both", {"name": "newer"})
    await api("POST", "/templates", {**WELCOME, "id": "out", "published": True})

    async def listed(query: str) -> list[tuple[str, str, bool]]:
        found = (await api("GET", f"/templates{query}")).body["results"]
        assert all("content" not in each for each in found)
        return [(each["id"], each["name"], each["published"]) for each in found]

    assert await listed("") == [("both", "newer", False), ("draft", "Welcome", False), ("out", "Welcome", True)]
    assert await listed("?draft=true") == [("both", "newer", False), ("draft", "Welcome", False)]
    assert await listed("?draft=false") == [("both", "Welcome", True), ("out", "Welcome", True)]
    assert await listed("?shared_with_subaccounts=true") == [("both", "newer", False)]
    assert await listed("?shared_with_subaccounts=false&draft=false") == [("out", "Welcome", True)]
    assert (await api("GET", "/templates?draft=yes")).status == 400


async def test_deleting(management: Open) -> None:
    api = management.api
    await api("POST", "/templates", WELCOME)
    answer = await api("DELETE", "/templates/welcome")
    assert (answer.status, answer.body) == (200, {"results": {}})
    for method, body in (("GET", None), ("PUT", {"name": "x"}), ("DELETE", None)):
        answer = await api(method, "/templates/welcome", body)
        assert answer.status == 404
        assert told(answer) == {
            "message": "resource not found",
            "description": "Template 'welcome' does not exist",
            "code": "1600",
        }
    assert (await api("POST", "/templates/welcome/preview", {})).status == 404
    assert (await api("POST", "/templates", WELCOME)).status == 200


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"id": None, "name": None}, 422, "1400", "id or name is required"),
    ({"id": ""}, 422, "1300", "'id' must consist of letters"),
    ({"id": ".."}, 422, "1300", "'id' must consist of letters"),
    ({"id": "a/b"}, 422, "1300", "'id' must consist of letters"),
    ({"id": "a\r\nb"}, 422, "1300", "'id' must consist of letters"),
    ({"id": "x" * 65}, 422, "1300", "id is limited to 64 bytes"),
    ({"id": 7}, 422, "1300", "'id' must be a string"),
    ({"name": "é" * 513}, 422, "1300", "name is limited to 1024 bytes"),
    ({"name": "a\0b"}, 422, "1300", "'name' must not contain control characters"),
    ({"name": "a\r\nb"}, 422, "1300", "'name' must not contain control characters"),
    ({"description": "x" * 1025}, 422, "1300", "description is limited to 1024 bytes"),
    ({"published": "true"}, 422, "1300", "'published' must be a boolean"),
    ({"options": {"open_tracking": 1}}, 422, "1300", "'options.open_tracking' must be a boolean"),
    ({"shared_with_subaccounts": "x"}, 422, "1300", "'shared_with_subaccounts' must be a boolean"),
    ({"content": None}, 422, "1400", "content is a required field"),
    ({"content": []}, 422, "1300", "'content' must be an object"),
    ({"content": {"text": None}}, 422, "1400", "content is a required field"),
    ({"content": {"subject": "s", "text": "t"}}, 422, "1400", "content.from is a required field"),
    ({"content": {"from": "a@b.example", "text": "t"}}, 422, "1400", "content.subject is a required field"),
    ({"content": {"from": "a@b.example", "subject": "s"}}, 422, "1400", "At least one of 'text' or 'html'"),
    ({"content": {**CONTENT, "from": ""}}, 422, "1400", "content.from is a required field"),
    ({"content": {**CONTENT, "from": {"name": "n"}}}, 422, "1400", "content.from.email is a required field"),
    ({"content": {**CONTENT, "from": "no address"}}, 422, "1300", "content.from: 'no address'"),
    ({"content": {**CONTENT, "from": "@b.example"}}, 400, "2008", "content.from: '@b.example' has nothing"),
    ({"content": {**CONTENT, "from": "a@b.example, c@d.example"}}, 422, "3002", "content.from: must be one address"),
    (
        {"content": {**CONTENT, "subject": "a\r\nBcc: x@y.example"}},
        422,
        "3002",
        "content.subject must not contain",
    ),
    ({"content": {**CONTENT, "from": "a@b.example\nBcc: x"}}, 422, "3002", "content.from: must not contain"),
    (
        {"content": {**CONTENT, "from": {"email": "a@b.example", "name": "a\nb"}}},
        422,
        "3002",
        "content.from must not contain",
    ),
    (
        {"content": {**CONTENT, "reply_to": "a@b.example\r\nX: y"}},
        422,
        "3002",
        "content.reply_to must not contain",
    ),
    ({"content": {**CONTENT, "headers": {"X-A": "b\r\nX: y"}}}, 422, "3002", "content.headers.X-A must not"),
    ({"content": {**CONTENT, "headers": {"X A": "b"}}}, 422, "3002", "content.headers.X A is not a header name"),
    ({"content": {**CONTENT, "headers": {"Subject": "b"}}}, 422, "3002", "content.headers.Subject can not be set"),
    ({"content": {**CONTENT, "headers": {"reply-to": "b"}}}, 422, "3002", "content.headers.reply-to can not be"),
    ({"content": {**CONTENT, "headers": {"Content-Type": "b"}}}, 422, "3002", "content.headers.Content-Type can"),
    ({"content": {**CONTENT, "headers": {"X": 1}}}, 422, "1300", "'content.headers.X' must be a string"),
    ({"content": {**CONTENT, "html": ["x"]}}, 422, "1300", "'content.html' must be a string"),
    ({"content": {**CONTENT, "attachments": [{"data": "aGk="}]}}, 422, "1400", "content.attachments[0].type is"),
    (
        {"content": {**CONTENT, "attachments": [{"type": "a/b", "data": "?"}]}},
        422,
        "3010",
        "content.attachments[0].data is not base64",
    ),
    ({"content": {"email_rfc822": "no message"}}, 422, "3020", "content.email_rfc822 does not begin with"),
    ({"content": {"email_rfc822": "Subject: s\n\nt"}}, 400, "7001", "No sending domain specified"),
    (
        {"content": {"email_rfc822": "From: a@b.example\n\nt", "text": "t"}},
        422,
        "1301",
        "content.email_rfc822 can not",
    ),
]


async def test_refused(management: Open) -> None:
    for change, status, code, description in REFUSED:
        answer = await management.api("POST", "/templates", {**WELCOME, **change})
        assert (answer.status, told(answer)["code"]) == (status, code), (change, answer.body)
        assert told(answer)["description"].startswith(description), (change, answer.body)
    assert (await management.api("GET", "/templates")).body["results"] == []


async def test_all_that_is_wrong_is_told(management: Open) -> None:
    answer = await management.api("POST", "/templates", {"id": "a b", "content": {"subject": "a\nb", "text": "{{"}})
    assert [error["code"] for error in answer.body["errors"]] == ["1400", "3002", "3000", "1300"]


SYNTAX: list[tuple[dict[str, Any], str, int, str]] = [
    (
        {"text": "a\nb\n\n{{ name age }}"},
        "text",
        4,
        "Error while compiling part text: line 4: syntax error near 'age'",
    ),
    ({"html": "{{if x}}"}, "html", 1, "Error while compiling part html: line 1: "),
    ({"amp_html": "\n{{ end }}"}, "amp_html", 2, "Error while compiling part amp_html: line 2: "),
    (
        {"subject": "Hello {{ name"},
        "Header:Subject",
        1,
        "Error while compiling header Subject: substitution statement missing ending '}}'",
    ),
    ({"from": {"email": "a@b.example", "name": "{{"}}, "Header:From", 1, "Error while compiling header From: "),
    ({"reply_to": "{{"}, "Header:Reply-To", 1, "Error while compiling header Reply-To: "),
    ({"headers": {"X-Id": "{{"}}, "Header:X-Id", 1, "Error while compiling header X-Id: "),
]


async def test_syntax(management: Open) -> None:
    await management.api("POST", "/templates", WELCOME)
    for content, part, line, description in SYNTAX:
        body = {"name": "n", "content": {**CONTENT, **content}}
        for method, path in (("POST", "/templates"), ("PUT", "/templates/welcome")):
            answer = await management.api(method, path, body)
            assert (answer.status, len(answer.body["errors"])) == (422, 1)
            error = told(answer)
            assert (error["message"], error["code"], error["part"], error["line"]) == (
                "substitution language syntax error in template content",
                "3000",
                part,
                line,
            )
            assert error["description"].startswith(description)
    assert (await shown(management, "/templates/welcome"))["content"] == CONTENT


async def test_conflicts_of_ids(management: Open) -> None:
    api = management.api
    await api("POST", "/templates", WELCOME)
    answer = await api("POST", "/templates", {**WELCOME, "name": "other"})
    assert answer.status == 400
    assert told(answer) == {
        "message": "template already exists",
        "description": "Template 'welcome' already exists",
        "code": "3030",
    }
    answer = await api("PUT", "/templates/welcome", {"id": "other"})
    assert (answer.status, told(answer)["code"]) == (422, "1300")
    answer = await api("PUT", "/templates/welcome?update_published=true", {"name": "x"})
    assert (answer.status, told(answer)["code"]) == (422, "2005")
    assert (await shown(management, "/templates/welcome"))["name"] == "Welcome"


async def test_bodies_that_are_none(management: Open) -> None:
    for body in (b"", b"[]", b"7", b'"x"', b"{", b"[" * 100_000, b'{"a":' * 100_000, b'{"id":"\xff"}'):
        for method, path in (("POST", "/templates"), ("PUT", "/templates/x"), ("POST", "/utils/content-previewer")):
            answer = await management.api(method, path, body)
            assert answer.status == 400, (body[:20], path)
            assert "Traceback" not in str(answer.body)


async def test_too_large(management: Open) -> None:
    text = "x" * (20 << 20)
    answer = await management.api("POST", "/templates", {**WELCOME, "content": {**CONTENT, "text": text}})
    assert (answer.status, told(answer)["code"]) == (422, "1300")
    answer = await management.api("POST", "/templates", {**WELCOME, "content": {**CONTENT, "text": text * 2}})
    assert answer.status == 413


async def test_a_preview(management: Open) -> None:
    api = management.api
    content = {**CONTENT, "from": {"email": "a@a.example", "name": "{{name}}"}, "headers": {"X-Id": "{{id}}"}}
    await api("POST", "/templates", {**WELCOME, "content": content})
    data = {"substitution_data": {"name": "<Mara>", "id": 7}}
    answer = await api("POST", "/templates/welcome/preview", data)
    assert (answer.status, answer.body["results"]) == (
        200,
        {
            "from": {"email": "a@a.example", "name": "<Mara>"},
            "subject": "Welcome <Mara>",
            "text": "Hi <Mara>",
            "html": "<p>&lt;Mara&gt;</p>",
            "headers": {"X-Id": "7"},
        },
    )
    for body in (None, {}, {"substitution_data": None}):
        assert (await api("POST", "/templates/welcome/preview", body)).body["results"]["text"] == "Hi "
    await api("PUT", "/templates/welcome", {"published": True})
    await api("PUT", "/templates/welcome", {"content": {**content, "from": "b@a.example"}})
    for query, sender in (("?draft=true", "b@a.example"), ("", "b@a.example"), ("?draft=false", content["from"])):
        found = (await api("POST", f"/templates/welcome/preview{query}", {})).body["results"]["from"]
        assert found == sender or found == {"email": "a@a.example", "name": ""}
    assert (await api("POST", "/templates/welcome/preview", {"substitution_data": []})).status == 422


async def test_a_preview_that_fails(management: Open) -> None:
    await management.api("POST", "/templates", {**WELCOME, "content": {**CONTENT, "html": "\n{{ nobody.name }}"}})
    answer = await management.api("POST", "/templates/welcome/preview", {"substitution_data": {"name": "x"}})
    assert answer.status == 422
    assert told(answer) == {
        "message": "substitution language render error",
        "description": "Error while rendering part html: line 2: substitution value 'nobody' did not exist or was null",
        "code": "3001",
        "part": "html",
        "line": 2,
    }


async def test_a_message_as_template(management: Open) -> None:
    raw = (
        "From: Hello <a@a.example>\r\nSubject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?= {{name}}\r\nX-Id: {{id}}\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        "Hall=C3=B6 {{name}}\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>{{name}}</p>\r\n"
        "--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\n{{ not a template\r\n--b--\r\n"
    )
    made = {"id": "raw", "content": {"email_rfc822": raw}}
    assert (await management.api("POST", "/templates", made)).status == 200
    assert (await shown(management, "/templates/raw"))["content"] == {"email_rfc822": raw}
    answer = await management.api("POST", "/templates/raw/preview", {"substitution_data": {"name": "<M>", "id": "7"}})
    assert answer.body["results"] == {
        "from": "Hello <a@a.example>",
        "subject": "Grüße <M>",
        "headers": {"X-Id": "7"},
        "text": "Hallö <M>",
        "html": "<p>&lt;M&gt;</p>",
    }
    broken = raw.replace("<p>{{name}}", "<p>\r\n{{name")
    answer = await management.api("PUT", "/templates/raw", {"content": {"email_rfc822": broken}})
    assert (told(answer)["code"], told(answer)["part"], told(answer)["line"]) == ("3000", "text/html", 2)


async def test_content_that_is_not_stored(management: Open) -> None:
    path = "/utils/content-previewer"
    body = {"substitution_data": {"a": "&"}, "content": {"html": "{{a}}", "subject": "{{a}}"}}
    answer = await management.api("POST", path, body)
    assert (answer.status, answer.body["results"]) == (200, {"html": "&amp;", "subject": "&"})
    answer = await management.api("POST", path, {"content": {"text": "x"}})
    assert (answer.status, told(answer)["description"]) == (422, "substitution_data is a required field")
    answer = await management.api("POST", path, {"substitution_data": {}, "content": {}})
    assert (answer.status, told(answer)["description"]) == (422, "content is a required field")
    answer = await management.api("POST", path, {"substitution_data": {}, "content": {"text": "{{"}})
    assert (answer.status, told(answer)["code"]) == (422, "3000")
    answer = await management.api("POST", path, {"substitution_data": {}, "content": {"text": "{{a.b}}"}})
    assert (answer.status, told(answer)["code"]) == (422, "3001")


async def test_a_template_that_works_too_long(management: Open) -> None:
    bomb = "{{each a}}" * 20 + "x" + "{{end}}" * 20
    body = {"substitution_data": {"a": [1, 2, 3, 4]}, "content": {"text": bomb}}
    answer = await management.api("POST", "/utils/content-previewer", body)
    assert (answer.status, told(answer)["code"]) == (422, "3001")
    body = {"substitution_data": {}, "content": {"text": "{{if true}}" * 200_000}}
    answer = await management.api("POST", "/utils/content-previewer", body)
    assert (answer.status, told(answer)["code"]) == (422, "3000")


async def test_snippets_in_previews(management: Open) -> None:
    api = management.api
    for key in ("one", "two"):
        content = {"text": f"{key} {{{{name}}}}", "html": f"<b>{key} {{{{name}}}}</b>"}
        await api("POST", "/snippets", {"id": key, "content": content})
    text = '{{ render_snippet("one") }}, {{ render_snippet(which) }}'
    body = {"substitution_data": {"name": "&", "which": "two"}, "content": {"text": text, "html": text}}
    answer = await api("POST", "/utils/content-previewer", body)
    assert answer.body["results"] == {"text": "one &, two &", "html": "<b>one &amp;</b>, <b>two &amp;</b>"}
    body["substitution_data"] = {"which": "three"}
    answer = await api("POST", "/utils/content-previewer", body)
    assert (answer.status, told(answer)["code"]) == (422, "3001")
    assert "three" in told(answer)["description"]


async def test_subaccounts_do_not_see_each_other(management: Open) -> None:
    api = management.api
    seven, eight = api.of(7), api.of(8)
    for number, client in ((0, api), (7, seven), (8, eight)):
        body = {**WELCOME, "name": f"of {number}"}
        assert (await client("POST", "/templates", body)).status == 200
    await seven("POST", "/templates", {**WELCOME, "id": "only7"})
    for method, path, ask in (
        ("GET", "/templates/only7", None),
        ("PUT", "/templates/only7", {"name": "x"}),
        ("DELETE", "/templates/only7", None),
        ("POST", "/templates/only7/preview", {}),
    ):
        assert (await eight(method, path, ask)).status == 404
    assert [each["name"] for each in (await eight("GET", "/templates")).body["results"]] == ["of 8"]
    await eight("DELETE", "/templates/welcome")
    found = (await api("GET", "/templates")).body["results"]
    assert [(each.get("subaccount_id"), each["id"]) for each in found] == [
        (None, "welcome"),
        (7, "only7"),
        (7, "welcome"),
    ]
    # The primary account by the header: as that subaccount, or of its own alone.
    assert (await shown(management, "/templates/welcome", subaccount=7))["name"] == "of 7"
    assert (await shown(management, "/templates/welcome"))["name"] == "of 0"
    assert (await shown(management, "/templates/only7"))["subaccount_id"] == 7
    assert (await api("GET", "/templates/only7", subaccount=0)).status == 404
    assert (await api("PUT", "/templates/only7", {"name": "x"})).status == 404
    assert (await api("PUT", "/templates/only7", {"name": "x"}, subaccount=7)).status == 200


async def test_sharing(management: Open) -> None:
    api, seven = management.api, management.api.of(7)
    await api("POST", "/templates", {**WELCOME, "shared_with_subaccounts": True})
    await api("POST", "/templates", {**WELCOME, "id": "private"})
    assert [each["id"] for each in (await seven("GET", "/templates")).body["results"]] == ["welcome"]
    assert (await seven("POST", "/templates/welcome/preview", {})).status == 200
    for method, body in (("PUT", {"name": "x"}), ("DELETE", None)):
        answer = await seven(method, "/templates/welcome", body)
        assert (answer.status, told(answer)["message"]) == (403, "Forbidden.")
    answer = await seven("POST", "/templates", {**WELCOME, "id": "mine", "shared_with_subaccounts": True})
    assert (answer.status, told(answer)["code"]) == (422, "1300")
    # Its own of the same id comes first.
    await seven("POST", "/templates", {**WELCOME, "name": "own"})
    assert (await seven("GET", "/templates/welcome")).body["results"]["name"] == "own"
    await seven("DELETE", "/templates/welcome")
    assert (await seven("GET", "/templates/welcome")).body["results"]["name"] == "Welcome"


async def test_grants(management: Open) -> None:
    api = management.api
    await api("POST", "/templates", WELCOME)
    calls: dict[str, list[tuple[str, str, Any]]] = {
        "templates/view": [("GET", "/templates", None), ("GET", "/templates/welcome", None)],
        "templates/preview": [
            ("POST", "/templates/welcome/preview", {}),
            ("POST", "/utils/content-previewer", {"substitution_data": {}, "content": {"text": "x"}}),
        ],
        "templates/modify": [
            ("POST", "/templates", {**WELCOME, "id": "x"}),
            ("PUT", "/templates/welcome", {"name": "y"}),
        ],
    }
    for grant in calls:
        management.keys.more[grant] = Key(grant, frozenset((grant,)))
    for needs, requests in calls.items():
        for held in calls:
            api.key = held
            for method, path, body in requests:
                assert ((await api(method, path, body)).status == 403) == (held != needs), (held, path)
