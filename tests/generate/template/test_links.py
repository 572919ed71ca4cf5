"""Links: which are tracked, with what name, and what stands there in the end (api.md 4.10)."""

from __future__ import annotations

import pytest

from postroad.generate.template import (
    AMP,
    HTML,
    TEXT,
    Click,
    Part,
    TemplateSyntaxError,
    compile,
    header,
    snippet,
    verbatim,
)


def tracked(source: str, part: Part = HTML, **data: object) -> tuple[str, list[Click]]:
    clicks: list[Click] = []

    def track(click: Click) -> str:
        clicks.append(click)
        return f"https://t.example/{len(clicks)}?a&b"

    template = compile(source, part)
    text = template.render(data, track=track)
    assert all(click.number < template.tracked for click in clicks)
    return text, clicks


def urls(source: str, part: Part = HTML, **data: object) -> list[str]:
    return [click.url for click in tracked(source, part, **data)[1]]


def test_a_link_in_html() -> None:
    text, clicks = tracked('<a href="https://a.example/?x=1&amp;y=2">x</a>')
    assert text == '<a href="https://t.example/1?a&amp;b">x</a>'
    assert clicks == [Click("https://a.example/?x=1&y=2", "Raw URL", False, "", 0)]


def test_marks_are_heard_and_not_written() -> None:
    text, clicks = tracked(
        "<A data-msys-linkname='n &amp; {{who}}' class=c data-msys-sublink=p\n href='http://a.example/{{who}}'"
        ' data-msys-unsubscribe="1">x</A>',
        who="<me>",
    )
    assert text == "<A class=c\n href='https://t.example/1?a&amp;b'>x</A>"
    assert clicks == [Click("http://a.example/%3Cme%3E", "n & <me>", True, "p", 0)]


def test_clicktrack_0_leaves_the_link_alone() -> None:
    text, clicks = tracked('<a href="http://a.example/{{x}}" data-msys-clicktrack="0">', x="a b")
    assert (text, clicks) == ('<a href="http://a.example/a%20b">', [])


@pytest.mark.parametrize(
    "source",
    [
        '<img src="http://a.example/">',
        "<p>http://a.example/</p>",
        '<a href="{{u}}">',
        '<a href="mailto:a@b.example">',
        '<a title="http://a.example/">',
        '<a href="http://a.example/{{ x }}">',
        '<a href="http://a.example/{{if x}}b{{end}}">',
        '<a href="{{if x}}http://a.example/{{end}}">',
    ],
)
def test_not_tracked_in_html(source: str) -> None:
    assert urls(source, u="http://a.example/", x="1") == []


def test_blanks_in_the_braces_of_a_link_make_it_none() -> None:
    assert tracked('<a href="http://a.example/{{ x }}">', x="a/b")[0] == '<a href="http://a.example/a&#x2F;b">'


def test_an_address_in_src_is_encoded_but_not_tracked() -> None:
    assert tracked('<img src="http://a.example/{{x}}">', x="a b")[0] == '<img src="http://a.example/a%20b">'


def test_quotes_in_the_braces_do_not_end_the_address() -> None:
    assert urls("<a href=\"http://a.example/{{x['k']}}\">", x={"k": "v"}) == ["http://a.example/v"]


def test_area_and_amp() -> None:
    assert urls('<area href="http://a.example/1">', AMP) == ["http://a.example/1"]


def test_several_links_are_numbered_in_order() -> None:
    source = '<a href="http://a.example/1"></a><a href="http://a.example/{{x}}" data-msys-clicktrack="1"></a>'
    assert [click.number for click in tracked(source, x=2)[1]] == [0, 1]


def test_in_a_loop_each_item_has_its_link() -> None:
    source = '{{each x}}<a href="http://a.example/{{loop_var}}" data-msys-linkname="{{loop_index}}">{{end}}'
    assert [(click.url, click.name) for click in tracked(source, x=["a", "b"])[1]] == [
        ("http://a.example/a", "1"),
        ("http://a.example/b", "2"),
    ]


def test_links_of_dynamic_content_and_snippets() -> None:
    clicks: list[Click] = []
    piece = snippet('<a href="http://s.example/">', HTML)
    source = '{{render_dynamic_content(dynamic_html.a)}}{{render_snippet("s")}}'
    compile(source, HTML).render(
        {"dynamic_html": {"a": '<a href="http://d.example/{{x}}">'}, "x": "a b"},
        snippets={"s": piece}.get,
        track=lambda click: clicks.append(click),
    )
    assert [(click.url, click.number) for click in clicks] == [
        ("http://d.example/a%20b", -1),
        ("http://s.example/", -1),
    ]


def test_a_link_left_alone_by_its_tracker() -> None:
    assert compile('<a href="http://a.example/">', HTML).render({}, track=lambda click: None) == (
        '<a href="http://a.example/">'
    )


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("See http://a.example/x.", "http://a.example/x"),
        ("(http://a.example/x)", "http://a.example/x"),
        ("http://a.example/x_(y)", "http://a.example/x_(y)"),
        ("<https://a.example/{{x}}>", "https://a.example/a%2Fb"),
        ('http://a.example/x[[data-msys-unsubscribe="1"]] y', "http://a.example/x"),
    ],
)
def test_in_text(source: str, url: str) -> None:
    text, clicks = tracked(source, TEXT, x="a/b")
    assert [click.url for click in clicks] == [url]
    assert "[[" not in text
    assert "https://t.example/1?a&b" in text
    assert clicks[0].unsubscribe is ("unsubscribe" in source)


def test_text_marks() -> None:
    text, clicks = tracked('a http://a.example/[[data-msys-clicktrack="0"]]\nb', TEXT)
    assert (text, clicks) == ("a http://a.example/\nb", [])


def test_names_are_cut_between_characters() -> None:
    (click,) = tracked(f'<a href="http://a.example/" data-msys-linkname="{"ü" * 40}">')[1]
    assert click.name == "ü" * 31


def test_headers_have_no_links() -> None:
    assert tracked("<http://a.example/{{x}}>", header("X-Link"), x="a b") == ("<http://a.example/a b>", [])


def test_verbatim_links_are_tracked_if_asked() -> None:
    template = verbatim('<a href="http://a.example/{{x}}" data-msys-linkname="n">', HTML)
    assert template.render({}) == '<a href="http://a.example/{{x}}" data-msys-linkname="n">'
    assert template.render({}, track=lambda click: f"http://t.example/{click.name}") == '<a href="http://t.example/n">'


@pytest.mark.parametrize(
    ("source", "part", "problem"),
    [
        ('<a data-msys-foo="1">', HTML, "unknown link attribute 'data-msys-foo'"),
        ('<a data-msys-clicktrack="no">', HTML, 'data-msys-clicktrack must be "0" or "1"'),
        ('<a data-msys-clicktrack="{{x}}">', HTML, "data-msys-clicktrack can not hold such a substitution statement"),
        (
            '<a data-msys-linkname="{{if x}}a{{end}}">',
            HTML,
            "data-msys-linkname can not hold such a substitution statement",
        ),
        (
            "http://a.example/[[data-msys-clicktrack=0]]",
            TEXT,
            'syntax error in link attributes: [[name="value"]] is the form',
        ),
    ],
)
def test_marks_that_make_no_sense(source: str, part: Part, problem: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile("\n" + source, part)
    assert (caught.value.problem, caught.value.line) == (problem, 2)
