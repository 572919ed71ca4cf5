"""The language beyond the edge-case table: precedence, values, white space, places of errors, what a template needs."""

from __future__ import annotations

import math
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
    snippet,
)


def out(source: str, part: Part = TEXT, **data: Any) -> str:
    return compile(source, part).render(data)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("10 - 2 - 3", "5"),
        ("-2 * -3", "6"),
        ("- -2", "2"),
        ("1 < 2 == true", "true"),
        ("nil or false and 1", "false"),
        ("not nil == true", "true"),
        ("1 ~= 2", "true"),
        ("2 >= 2 and 2 <= 2 and 3 > 2", "true"),
        ("'a' < 'b'", "true"),
        ("'10' + 5", "15"),
        ("' 1e1 ' * 2", "20"),
        ("1 == 1.0", "true"),
        ("1 == true", "false"),
        ("7 / 2", "3.5"),
        ("1e3", "1000"),
        ("39.99", "39.99"),
        ("0.1 + 0.2", "0.3"),
        ("#'ü'", "2"),
        ("#'a' + #'bc'", "3"),
        ("#o", "0"),
        ("#a[2]", "1"),
        ("a[1 + 1][1]", "x"),
        ("o['odd-key']", "k"),
        ("o[1]", ""),
        ("a['1']", ""),
        ("a == a", "true"),
        ("a", '[1,["x"]]'),
        ("o", '{"odd-key":"k"}'),
        ("big", "12345678901234567890"),
        ("big == 12345678901234567890", "true"),
        ("1e300 * 1e300", "inf"),
        (r"'a\tb\'\065\x'", "a\tb'Ax"),
        (r"'\195\188'", "ü"),
        ('"}}" or 1', "}}"),
        ("end_date or ifs", "d"),
        ("empty", "variable"),
        ("empty(nothing) and empty(none) and not empty(o)", "true"),
    ],
)
def test_expression(expression: str, expected: str) -> None:
    data: dict[str, Any] = {
        "a": [1, ["x"]],
        "o": {"odd-key": "k"},
        "big": 12345678901234567890,
        "end_date": "d",
        "empty": "variable",
        "none": [],
    }
    assert out("{{" + expression + "}}", **data) == expected
    assert out("{{{ " + expression + " }}}", **data) == expected


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("1 / 0", "attempt to divide by zero"),
        ("'a' + 1", "attempt to perform arithmetic on a value (a string value)"),
        ("-x.y", "attempt to perform arithmetic on field 'y' (a nil value)"),
        ("#n", "attempt to get length of field 'n' (a nil value)"),
        ("1 < 'a'", "attempt to compare number with string"),
        ("x < x", "attempt to compare two table values"),
        ("true < false", "attempt to compare two boolean values"),
        ("s.a", "attempt to index field 's' (a string value)"),
        ("s[1]", "attempt to index field 's' (a string value)"),
        ("(1).a", "attempt to index a value (a number value)"),
        ("x.y.z", "attempt to index field 'y' (a nil value)"),
        ("loop_var.a", "substitution value 'loop_var' did not exist or was null"),
        ("big + 1", "number too large"),
    ],
)
def test_render_error(expression: str, problem: str) -> None:
    with pytest.raises(TemplateRenderError) as caught:
        out("a\n {{" + expression + "}}", x={}, s="text", big=10**400)
    assert (caught.value.problem, caught.value.line) == (problem, 2)


def test_lenient_rendering_takes_members_of_nothing_as_nil() -> None:
    template = compile("[{{a.b}}]", HTML)
    assert template.render({}, strict=False) == "[]"
    with pytest.raises(TemplateRenderError):
        template.render({})


@pytest.mark.parametrize(
    ("tag", "near"),
    [
        ("", "}}"),
        ("if", "}}"),
        ("each", "}}"),
        ("a..b", "."),
        ("a % b", "%"),
        ("a ^ 2", "^"),
        ("a:b()", ":"),
        (" {a}", "{"),
        ("a = 1", "="),
        ("a.1", "1"),
        ("a.end", "end"),
        ("3x", "x"),
        ("function", "function"),
        ("(a", "}}"),
        ("a[1", "}}"),
        ("a b", "b"),
        ("end", "end"),
        ("else", "else"),
        ("elseif a", "elseif"),
        ("end x", "x"),
        ("ünder", "ü"),
        ("empty()", ")"),
        ("x > 1 then", "then"),
    ],
)
def test_syntax_error(tag: str, near: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile("first\n\n  {{" + tag + "}}", HTML)
    assert caught.value.problem == f"syntax error near '{near}'"
    assert caught.value.line == 3


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{os_execute('x')}}", "syntax error near 'os_execute': no such function"),
        ("{{if render_snippet('a')}}{{end}}", "syntax error near 'render_snippet': must be the whole of its braces"),
        ("{{ it's }}", "syntax error near ''': unfinished string"),
        ("{{'\\300'}}", "syntax error near '\\300': no such octet"),
        ("{{'\\200'}}", "syntax error near ''\\200'': not UTF-8"),
        ("{{{ a }}", "substitution statement missing ending '}}}'"),
        ("{{if a}}{{else}}{{else}}{{end}}", "syntax error near 'else'"),
        ("{{if a}}{{else}}{{elseif b}}{{end}}", "syntax error near 'elseif'"),
        ("{{each a}}{{else}}{{end}}", "syntax error near 'else'"),
        (
            "{{render_dynamic_content(other.x)}}",
            "syntax error near 'render_dynamic_content': "
            "takes a path into dynamic_html, dynamic_plain or dynamic_amp_html",
        ),
    ],
)
def test_refused(source: str, problem: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile(source, HTML)
    assert caught.value.problem == problem


def test_places_count_from_1() -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile("a\nbc {{x y}}", Part(TEXT.kind, "text/plain"))
    assert (caught.value.line, caught.value.column, caught.value.part) == (2, 8, "text/plain")
    assert str(caught.value) == "Error while compiling part text/plain: line 2: syntax error near 'y'"


def test_headers_are_named_without_a_line() -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile("Hi {{name", header("Subject"))
    assert caught.value.part == "Header:Subject"
    assert str(caught.value) == ("Error while compiling header Subject: substitution statement missing ending '}}'")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a\r\n{{if t}}\r\nb\r\n{{end}}\r\nc", "a\r\nb\r\nc"),
        ("a\n  {{if t}}  \n  b\n  {{end}}\nc", "a\n  b\nc"),
        ("a\n{{if t}}{{if t}}\nb\n{{end}} {{end}}\nc", "a\nb\nc"),
        ("a {{if t}}\nb {{end}}\nc", "a \nb \nc"),
        ("{{x}}\n{{x}}\n", "1\n1\n"),
        ("{{if t}}\n{{end}}, b", ", b"),
        ("{{if t}}\r\nLyon\r\n{{end}}, b", "Lyon, b"),
        ("{{if f}}\na\n{{else}}\nb\n{{end}}\n", "b\n"),
        ("{{{if t}}}\na\n{{{end}}}\n", "a\n"),
        ("a }} b", "a }} b"),
    ],
)
def test_white_space(source: str, expected: str) -> None:
    assert out(source, t=True, f=False, x=1) == expected


def test_loops_shadow_and_come_back() -> None:
    inner = "{{each loop_var}}{{loop_var}}{{loop_vars.a[1]}}{{loop_index}} {{end}}"
    assert out("{{each a}}" + inner + "{{loop_index}};{{end}}{{loop_var}}", a=[["x", "y"], ["z"]]) == "xx1 yx2 1;zz1 2;"


@pytest.mark.parametrize("value", ["text", 5, True, {"a": 1}])
def test_only_arrays_are_iterated(value: object) -> None:
    with pytest.raises(TemplateRenderError, match="attempt to iterate over field 'x'"):
        out("{{each x}}{{end}}", x=value)


def test_curlies() -> None:
    source = "".join(
        f"{{{{{side}_{size}_curly()}}}}" for side in ("opening", "closing") for size in ("single", "triple")
    )
    assert out(source) == "{{{{}}}}"


def test_dynamic_content() -> None:
    template = compile("{{each x}}{{render_dynamic_content(dynamic_html[loop_var])}}{{end}}", HTML)
    content = {"a": "{{if y}}<b>{{loop_index}}{{y}}</b>{{end}}", "d": "{{render_dynamic_content(dynamic_html.a)}}"}
    assert template.render({"dynamic_html": content, "x": ["a", "none", "d"], "y": "<"}) == "<b>1&lt;</b><b>3&lt;</b>"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a\n{{x y}}", "dynamic content 'a': line 2: syntax error near 'y'"),
        ("a\n\n{{x.y}}", "dynamic content 'a': line 3: substitution value 'x' did not exist or was null"),
        (5, "attempt to render field 'a' (a number value)"),
    ],
)
def test_dynamic_content_that_fails(content: object, problem: str) -> None:
    template = compile("\n{{render_dynamic_content(dynamic_html.a)}}", HTML)
    for _ in range(2):
        with pytest.raises(TemplateRenderError) as caught:
            template.render({"dynamic_html": {"a": content}})
        assert (caught.value.problem, caught.value.line) == (problem, 2)


@pytest.mark.parametrize("inside", ["render_snippet('a')", "render_dynamic_content(dynamic_html.a)"])
def test_snippets_hold_no_snippets(inside: str) -> None:
    with pytest.raises(TemplateSyntaxError, match="not within snippets"):
        snippet("{{" + inside + "}}", HTML)


def test_amp_templates_leave_what_is_the_readers() -> None:
    inside = "{{#a}}{{loop_var}}{{opening_single_curly()}}{{x}}{{{y}}}{{! it's }}{{/a}}"
    source = "{{each a}}<template id=t type=amp-mustache>" + inside + "</template>{{x}}{{end}}"
    left = "{{#a}}v{{{x}}{{{y}}}{{! it's }}{{/a}}"
    assert out(source, AMP, a=["v"], x="X") == "<template id=t type=amp-mustache>" + left + "</template>X"


def test_values_that_are_not_json_are_refused() -> None:
    with pytest.raises(TemplateRenderError, match="a userdata value can not be written"):
        out("{{x}}", x=object())
    with pytest.raises(TemplateRenderError, match="a number value can not be written"):
        out("{{x}}", x=10**5000)
    assert out("{{x}}", x=math.inf) == "inf"


def test_needs() -> None:
    template = compile(
        "{{name}} {{address.city}} {{if vip and points > 3}}{{gift.name}}{{end}}"
        "{{each cart}}{{loop_var.price}}{{loop_vars.cart.tags[1]}}{{end}}{{price + 1}}"
        "{{offers[which]}}{{render_snippet('legal')}}{{render_dynamic_content(dynamic_html.a)}}"
        '<a href="http://a.example/{{code}}">',
        HTML,
    )
    found = {path: (need.conditional, need.required) for path, need in template.needs.values.items()}
    assert found == {
        "name": (False, False),
        "address": (False, True),
        "address.city": (False, False),
        "vip": (False, False),
        "points": (True, False),
        "gift": (True, False),
        "gift.name": (True, False),
        "cart": (False, False),
        "cart[].price": (True, False),
        "cart[]": (True, False),
        "cart[].tags": (True, False),
        "cart[].tags[1]": (True, False),
        "price": (False, True),
        "which": (False, False),
        "offers": (False, True),
        "offers[?]": (False, False),
        "dynamic_html": (False, True),
        "dynamic_html.a": (False, False),
        "code": (False, False),
    }
    assert (template.needs.snippets, template.needs.any_snippet) == (["legal"], False)
    assert template.needs.dynamic == ["dynamic_html.a"]
