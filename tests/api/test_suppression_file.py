"""The suppression list as CSV and JSON lines: what is read, what is refused, and that an export can be imported."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.api.suppressionfile import COLUMNS, BadRow, FileError, Format, Rules, head, read, split, written
from postroad.store.suppressionlist import COMPLIANCE, SOURCES, Suppression

NOW = 1_700_000_000_000
RULES = Rules(NOW, 0, lambda number: number in (7, 8))


def taken(text: str | bytes, form: Format = "csv", rules: Rules = RULES) -> list[list[Suppression] | BadRow]:
    return list(read(split(text if isinstance(text, bytes) else text.encode()), form, rules))


def test_a_plain_file() -> None:
    text = (
        '\ufeffEmail,Type,Description\r\nAnn@X.test,transactional,"two\nlines"\r\n\r\nbob@x.test,non_transactional\r\n'
    )
    assert taken(text) == [
        [Suppression(0, "ann@x.test", True, description="two\nlines")],
        [Suppression(0, "bob@x.test", False)],
    ]


def test_both_types_by_booleans() -> None:
    for text in (
        "recipient,transactional,non_transactional\na@x.test,TRUE,1",
        "transactional,non_transactional,email\nyes,true,a@x.test\n",
    ):
        assert taken(text) == [[Suppression(0, "a@x.test", True), Suppression(0, "a@x.test", False)]]
    row = {"recipient": "a@x.test", "transactional": False, "non_transactional": True, "list_id": None, "more": {}}
    assert taken(json.dumps(row), "jsonl") == [[Suppression(0, "a@x.test", False)]]


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ({"recipient": "nobody"}, "'nobody' is no address"),
        ({"recipient": ""}, "'' is no address"),
        ({"type": "all"}, "Type must be one of"),
        ({"type": ""}, "Must supply a suppression type"),
        ({"list_id": "a..b"}, "list_id 'a..b' is invalid"),
        ({"source": "Nobody"}, "source must be of: Spam Complaint"),
        ({"source": COMPLIANCE}, "entries for compliance"),
        ({"description": "x" * 1025}, "description is limited to 1024 characters"),
        ({"description": "a\0b"}, "description must not contain control characters"),
        ({"reply": "a\x1bb"}, "reply must not contain control characters"),
        ({"rule": "x" * 4097}, "rule is limited to 4096 characters"),
        ({"expires": "tomorrow"}, "expires must be a time"),
        ({"created": "1960-01-01"}, "created must be after 1970"),
        ({"subaccount_id": "9"}, "subaccount_id '9' is none, or not yours"),
        ({"subaccount_id": "-7"}, "subaccount_id '-7' is none"),
        ({"subaccount_id": "x"}, "subaccount_id 'x' is none"),
        ({"subaccount_id": "99999999999"}, "subaccount_id '99999999999' is none"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_bad_rows(form: Format, cells: dict[str, str], text: str) -> None:
    row = {"recipient": "a@x.test", "type": "transactional", **cells}
    if form == "csv":
        content = f"{','.join(row)}\n{','.join(row.values())}\ngood@x.test,transactional\n"
    else:
        content = f'{json.dumps(row)}\n{{"recipient": "good@x.test", "type": "transactional"}}\n'
    bad, good = taken(content, form)
    assert isinstance(bad, BadRow) and bad.line == (2 if form == "csv" else 1) and bad.text.startswith(text)
    assert good == [Suppression(0, "good@x.test", True)]


@pytest.mark.parametrize(
    "line",
    [
        *("[]", "{", "7", "null", '{"recipient": 7}', '{"recipient": "a@x.test", "type": true}', "[" * 60_000),
        *('{"recipient": "a@x.test", "transactional": "yes"}', '{"recipient": "a@x.test", "type": ["transactional"]}'),
    ],
)
def test_lines_that_are_no_entries(line: str) -> None:
    (bad,) = taken(line, "jsonl")
    assert isinstance(bad, BadRow) and bad.line == 1


@pytest.mark.parametrize(
    ("content", "line"),
    [("recipient,type\na@x.test,transactional,more\n", 2), ('recipient,type\n"a"b,transactional\n', 2)],
)
def test_lines_that_are_no_csv(content: str, line: int) -> None:
    (bad,) = taken(content)
    assert isinstance(bad, BadRow) and bad.line == line


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a@x.test\n", "the first line must name the columns"),
        (b"recipient,type\n\xff@x.test,transactional\n", "line 2 is not UTF-8"),
        (b"recipient,type\n" + b"x" * 70_000, "line 2 is longer than 65536 octets"),
    ],
)
def test_files_that_are_none(content: bytes, text: str) -> None:
    with pytest.raises(FileError, match=text):
        taken(content)


def test_a_quote_that_never_ends() -> None:
    content = b'recipient,type\n"' + b"x\n" * 200_000
    assert all(isinstance(row, BadRow) for row in taken(content))


def test_what_has_expired_is_no_entry() -> None:
    assert (
        taken("recipient,type,expires\na@x.test,transactional,2020-01-01\nb@x.test,transactional,2999-01-01")[0] == []
    )


def test_whose_they_are() -> None:
    text = "recipient,type,subaccount_id\na@x.test,transactional,7\nb@x.test,transactional,\nc@x.test,transactional,0\n"
    a, b, c = taken(text)
    assert [row[0].subaccount for row in (a, b, c) if isinstance(row, list)] == [7, 0, 0]
    a, b, c = taken(text, rules=Rules(NOW, 7, lambda number: False))
    assert isinstance(c, BadRow)
    assert [row[0].subaccount for row in (a, b) if isinstance(row, list)] == [7, 7]


def test_no_cell_is_a_formula() -> None:
    row = Suppression(0, "=1+1@x.test", True, description="@SUM(A1)", created=NOW, updated=NOW)
    line = written([row], "csv").decode()
    assert line.startswith("'=1+1@x.test,transactional,,Manually Added,'@SUM(A1),")


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40) | st.sampled_from(
    ["'=x", "\t", '"', "a\r\nb"]
)
rows = st.builds(
    Suppression,
    st.sampled_from([0, 7]),
    st.sampled_from(["a@x.test", "+b@x.test", "'=c@x.test", "é@xn--bcher-kva.example", '"a,b"@x.test']),
    st.booleans(),
    st.sampled_from(["", "news.x.test"]),
    st.sampled_from([source for source in SOURCES if source != COMPLIANCE]),
    words,
    st.none() | st.fixed_dictionaries({"event_id": st.just("1"), "reply": words.filter(str.strip)}),
    updated=st.just(0),
    created=st.integers(1, NOW // 1000).map(lambda seconds: seconds * 1000),
    expires=st.none() | st.integers(NOW // 1000 + 1, 2 * NOW // 1000).map(lambda seconds: seconds * 1000),
)


@given(st.lists(rows, max_size=5), st.sampled_from(["csv", "jsonl"]))
def test_an_export_can_be_imported(entries: list[Suppression], form: Format) -> None:
    kept = [row for row in entries if row.description.strip() == row.description or form == "jsonl"]
    file = head(form) + written(kept, form)
    assert taken(file, form) == [[row] for row in kept]


def test_columns() -> None:
    assert head("csv").decode().strip().split(",") == list(COLUMNS) and head("jsonl") == b""
