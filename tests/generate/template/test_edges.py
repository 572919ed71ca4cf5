"""Every row of the edge-case table (api.md 4.14) that is the language's own; 67, 68 and 70 are of MIME building."""

from __future__ import annotations

from typing import Any

import pytest

from postroad.generate.template import (
    AMP,
    HTML,
    TEXT,
    Part,
    TemplateRenderError,
    TemplateSyntaxError,
    compile,
    header,
    namespace,
    snippet,
    verbatim,
)

DATA: dict[str, Any] = {
    "name": "Mara",
    "age": None,
    "n": 0,
    "e": "",
    "t": True,
    "f": False,
    "price": 20,
    "h": "<i>Salut/ciao</i>",
    "q": 'Tom & "Jo\'s"',
    "kids": ["Ana", "Bo"],
    "none": [],
    "cart": [{"name": "Lamp", "price": 12.75, "sub": [{"key": "k1"}, {"key": "k2"}]}, {"name": "Rug", "price": 8.00}],
    "address": {"city": "Rome"},
    "part": "city",
    "user": "kim",
    "code": "Two for one!",
    "link": "www.shop.example/g?x=1",
    "path": "a b/c",
    "tpl": "{{name}}",
    "u": "https://c.com/a",
    "banner_id": "two",
    "offers": ["b", "a"],
    "dynamic_html": {
        "c": '<p><a href="http://e.com?q={{user}}">k</a></p>',
        "a": "A {{name}}",
        "b": "B",
        "never": "{{name age}}",
    },
}
SNIPPETS = {"one": snippet("1 {{name}}", HTML), "two": snippet("2 {{h}}", HTML)}


def out(source: str, part: Part = HTML, **more: Any) -> str:
    return compile(source, part).render({**DATA, **more}, snippets=SNIPPETS.get)


ROWS = [
    ("1", "{{name}}|{{ name }}|{{  name   }}|{{\nname\n}}", "Mara|Mara|Mara|Mara"),
    ("2", "{ {name}}", "{ {name}}"),
    ("3", "[{{missing}}][{{age}}]", "[][]"),
    ("4", "{{ age or 'Customer' }}", "Customer"),
    ("5", '{{ missing or "x" }}', "x"),
    ("6", "{{ e or 'x' }}", ""),
    ("7", "{{ n or 5 }}", "0"),
    ("8", "{{ f or 'x' }}", "x"),
    ("9", "{{t}} {{f}}", "true false"),
    ("10", "{{address.city}} {{address['city']}} {{address[part]}}", "Rome Rome Rome"),
    ("11", "{{address.zip}}", ""),
    ("13b", "{{if nobody and nobody.name}}a{{else}}b{{end}}", "b"),
    ("14", "{{h}}", "&lt;i&gt;Salut&#x2F;ciao&lt;&#x2F;i&gt;"),
    ("15", "{{{h}}}", "<i>Salut/ciao</i>"),
    ("17", "{{q}}", "Tom &amp; &quot;Jo&#39;s&quot;"),
    ("19", "${{price - 8}}", "$12"),
    ("20", "{{price / 2}} {{price * 2}} {{price + 0.5}}", "10 40 20.5"),
    ("21", "{{cart[2].price}} {{cart[1].price}}", "8 12.75"),
    ("22", "{{kids[1]}}/{{kids[0]}}/{{kids[3]}}", "Ana//"),
    ("23", "{{#kids}} {{#none}}", "2 0"),
    ("26", "{{if missing and missing > 1}}a{{else}}b{{end}}", "b"),
    ("27", "{{if n}}a{{else}}b{{end}}", "a"),
    ("28", "{{if e}}a{{else}}b{{end}}", "a"),
    ("29", "{{if none}}a{{else}}b{{end}}", "a"),
    ("30", "{{if empty(none)}}none{{end}}", "none"),
    ("31", "{{if not empty(cart)}}some{{end}}", "some"),
    ("32", '{{if name == "Mara" then}}hi{{end}}', "hi"),
    ("33", "{{if name != 'Mara'}}a{{elseif price >= 20}}b{{else}}c{{end}}", "b"),
    ("34", '{{if price == "20"}}a{{else}}b{{end}}', "b"),
    ("35", "S\n{{ if t }}\nM\n{{ end }}\nE", "S\nM\nE"),
    ("36", "S\n{{ if f }}\nM\n{{ end }}\nE", "S\nE"),
    ("37", "{{ if t }}\nLyon\n{{ end }}, France", "Lyon, France"),
    ("38", "{{ if t }}\nLyon\n{{ end }}\nFrance", "Lyon\nFrance"),
    ("39", "{{each kids}}\n- {{loop_var}}\n{{end}}", "- Ana\n- Bo\n"),
    ("40", "{{each kids}}{{loop_index}}:{{loop_var}} {{end}}", "1:Ana 2:Bo "),
    ("41", "{{each none}}x{{end}}{{each missing}}x{{end}}{{each age}}x{{end}}", ""),
    (
        "42",
        "{{each cart}}\nItem: {{loop_var.name}}, Price: {{loop_var.price}}\n{{end}}",
        "Item: Lamp, Price: 12.75\nItem: Rug, Price: 8\n",
    ),
    (
        "43",
        "{{each cart}}\n{{loop_vars.cart.name}}:\n"
        "{{each loop_vars.cart.sub}}\n  {{loop_vars.sub.key}}\n{{end}}\n{{end}}",
        "Lamp:\n  k1\n  k2\nRug:\n",
    ),
    (
        "44",
        "<ul>\n{{each kids}}\n    <li>{{loop_var}}</li>\n{{end}}\n</ul>",
        "<ul>\n    <li>Ana</li>\n    <li>Bo</li>\n</ul>",
    ),
    ("45", "[{{loop_var}}{{loop_index}}]", "[]"),
    (
        "46",
        '<a href="https://c.com/d?user={{user}}&o={{code}}">',
        '<a href="https://c.com/d?user=kim&o=Two%20for%20one%21">',
    ),
    ("47", '<a href="https://{{{link}}}">', '<a href="https://www.shop.example/g?x=1">'),
    ("48", '<a href="http://c.com/{{path}}">', '<a href="http://c.com/a%20b%2Fc">'),
    ("49", '<a href="{{u}}">', '<a href="https:&#x2F;&#x2F;c.com&#x2F;a">'),
    ("51", "{{tpl}}", "{{name}}"),
    ("52", "{{ render_dynamic_content(dynamic_html.c) }}", '<p><a href="http://e.com?q=kim">k</a></p>'),
    ("53", "{{{ render_dynamic_content(dynamic_html.c) }}}", '<p><a href="http://e.com?q=kim">k</a></p>'),
    (
        "54",
        "{{each offers}}\n<li>{{render_dynamic_content(dynamic_html[loop_var])}}</li>\n{{end}}",
        "<li>B</li>\n<li>A Mara</li>\n",
    ),
    ("56", "{{ opening_double_curly() }}x{{ closing_double_curly() }}", "{{x}}"),
    ("59", "{{ render_snippet( banner_id ) }}", "2 &lt;i&gt;Salut&#x2F;ciao&lt;&#x2F;i&gt;"),
]


@pytest.mark.parametrize(("source", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_row(source: str, expected: str) -> None:
    assert out(source) == expected


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{nobody.name}}", "substitution value 'nobody' did not exist or was null"),
        ("{{address.a.b}}", "attempt to index field 'a' (a nil value)"),
        ("{{address[part][n].b}}", "attempt to index field '?' (a string value)"),
        ("{{nobody.name or 'x'}}", "substitution value 'nobody' did not exist or was null"),
        ("{{if nobody.name}}a{{end}}", "substitution value 'nobody' did not exist or was null"),
        ("{{missing + 1}}", "attempt to perform arithmetic on field 'missing' (a nil value)"),
        ("{{if missing > 1}}a{{end}}", "attempt to compare number with nil"),
        ("{{if missing < 1}}a{{end}}", "attempt to compare nil with number"),
        ('{{ render_snippet("nope") }}', "snippet 'nope' does not exist or has no such part"),
        ('{{render_snippet("one")}}' * 6, "render_snippet is called more than 5 times"),
    ],
    ids=["12", "13", "13'", "13a", "13a'", "24", "25", "25'", "57", "58"],
)
def test_row_fails_one_recipient(source: str, problem: str) -> None:
    with pytest.raises(TemplateRenderError) as caught:
        out(source)
    assert caught.value.problem == problem
    assert str(caught.value) == f"Error while rendering part html: line 1: {problem}"
    assert caught.value.code == "3001"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{if t}}x", "'end' expected (to close 'if' at line 1) near '<eof>'"),
        ("Hello {{ name", "substitution statement missing ending '}}'"),
        ("{{ name age }}", "syntax error near 'age'"),
        ("{{ if = }}", "syntax error near '='"),
        ("{{ while true }}", "syntax error near 'while'"),
    ],
    ids=["60", "61", "62", "63", "63'"],
)
def test_row_is_refused(source: str, problem: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile(source, HTML)
    assert caught.value.problem == problem
    assert str(caught.value) == f"Error while compiling part html: line 1: {problem}"
    assert caught.value.code == "3000"


def test_row_16_text_is_not_escaped() -> None:
    assert out("{{h}}", TEXT) == "<i>Salut/ciao</i>"


def test_row_18_subject_is_not_escaped() -> None:
    assert out("{{q}}", header("Subject")) == 'Tom & "Jo\'s"'


def test_row_50_link_in_text() -> None:
    assert out("http://c.com/?q={{code}}", TEXT) == "http://c.com/?q=Two%20for%20one%21"


def test_row_64_header_of_a_missing_value_is_empty() -> None:
    assert out("{{missing}}", header("X-Id")) == ""


def test_row_65_from_of_each_recipient() -> None:
    assert out("{{fn}} <{{lp}}@{{dom}}>", header("From"), fn="F", lp="l", dom="d.example") == "F <l@d.example>"


def test_row_66_value_with_a_line_break_adds_no_header() -> None:
    assert out("Hi {{bad}}", header("Subject"), bad="a\r\nBcc: x@y") == "Hi aBcc: x@y"


def test_row_69_no_substitutions() -> None:
    assert verbatim("{{name}} {{", HTML).render(DATA) == "{{name}} {{"


def test_row_75_amp() -> None:
    source = '<template type="amp-mustache">{{name}} {{sparkpost_x}} {{#t}}{{{e}}}{{/t}}</template>{{name}}'
    expected = '<template type="amp-mustache">{{name}} X {{#t}}{{{e}}}{{/t}}</template>Mara'
    assert out(source, AMP, sparkpost_x="X") == expected


def merged(**given: dict[str, object]) -> dict[str, object]:
    sources: dict[str, Any] = {
        "metadata": {},
        "substitution_data": {},
        "recipient_metadata": {},
        "recipient_substitution_data": {},
    }
    return namespace(**{**sources, **given}, email="r@b.example", name="", env_from="bounce@a.example")


def test_row_55_dynamic_content_of_a_recipient_is_not_executed() -> None:
    data = merged(recipient_substitution_data={"dynamic_html": {"c": "x"}})
    with pytest.raises(TemplateRenderError, match="substitution value 'dynamic_html' did not exist or was null"):
        compile("{{render_dynamic_content(dynamic_html.c)}}", HTML).render(data)
    both = merged(
        substitution_data={"dynamic_html": {"c": "ours"}}, recipient_substitution_data={"dynamic_html": {"c": "x"}}
    )
    assert compile("{{render_dynamic_content(dynamic_html.c)}}", HTML).render(both) == "ours"


def test_rows_71_and_72_reserved_names() -> None:
    source = "[{{address.name}}] {{email}} {{email_id}} {{address.email}} {{env_from}} {{address.street}}"
    data = merged(substitution_data={"address": {"street": "Main", "email": "no"}, "email": "no"})
    assert compile(source, HTML).render(data) == "[] r@b.example r@b.example r@b.example bounce@a.example Main"


def test_rows_73_and_74_later_sources_win() -> None:
    data = merged(
        metadata={"a": 1, "b": 1, "c": 1, "d": 1},
        substitution_data={"b": 2, "c": 2, "d": 2},
        recipient_metadata={"c": 3, "d": 3},
        recipient_substitution_data={"d": 4},
    )
    assert compile("{{a}}{{b}}{{c}}{{d}}", HTML).render(data) == "1234"
