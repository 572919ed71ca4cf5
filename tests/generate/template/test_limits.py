"""Limits hold by construction, and nothing but TemplateError comes out, whatever goes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.generate.template import (
    AMP,
    HTML,
    TEXT,
    Click,
    Kind,
    Limits,
    Part,
    TemplateError,
    TemplateRenderError,
    TemplateSyntaxError,
    compile,
    header,
)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("x" * 2001, "template is larger than 2000 characters"),
        ("{{a}}" * 101, "more than 100 substitution statements"),
        ("{{if a}}" * 6 + "{{end}}" * 6, "statements are nested more than 5 levels deep"),
        ("{{" + "(" * 101 + "a" + ")" * 101 + "}}", "expression has more than 100 levels"),
        ("{{" + "+".join("a" * 150) + "}}", "expression has more than 100 levels"),
        ("{{" + "not " * 150 + "a}}", "expression has more than 100 levels"),
        ("{{a" + ".a" * 150 + "}}", "expression has more than 100 levels"),
    ],
)
def test_compiling(source: str, problem: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile(source, HTML, limits=Limits(source=2000, tags=100, depth=5))
    assert caught.value.problem == problem


def test_what_is_just_allowed() -> None:
    limits = Limits(source=2000, tags=100, depth=5)
    assert compile("{{if a}}" * 5 + "x" + "{{end}}" * 5, TEXT, limits=limits).render({"a": 1}) == "x"
    assert compile("{{" + "+".join("1" * 100) + "}}", TEXT, limits=limits).render({}) == "100"
    assert compile("{{x}}" * 100, TEXT, limits=limits).render({"x": "1"}) == "1" * 100


def test_output_may_be_as_large_as_allowed_and_no_larger() -> None:
    template = compile("ab{{x}}{{each y}}c{{loop_var}}{{end}}", HTML)
    data = {"x": "<", "y": ["1", "2"]}
    assert template.render(data, limits=Limits(output=10)) == "ab&lt;c1c2"
    with pytest.raises(TemplateRenderError, match="output is larger than 9 characters"):
        template.render(data, limits=Limits(output=9))


def test_addresses_of_trackers_count_as_output() -> None:
    template = compile('<a href="http://a.example/{{x}}">', HTML)
    with pytest.raises(TemplateRenderError, match="output is larger than 100 characters"):
        template.render({"x": "1"}, limits=Limits(output=100), track=lambda click: "u" * 100)


def test_loops_count_together() -> None:
    template = compile("{{each x}}{{each y}}.{{end}}{{end}}", TEXT)
    data = {"x": [0] * 3, "y": [0] * 4}
    assert template.render(data, limits=Limits(loops=15)) == "." * 12
    with pytest.raises(TemplateRenderError, match="loops run more than 14 times"):
        template.render(data, limits=Limits(loops=14))


def test_loops_over_nothing_are_bounded_by_the_hundred_thousand() -> None:
    template = compile("{{each x}}" * 4 + "{{end}}" * 4, TEXT)
    with pytest.raises(TemplateRenderError, match="loops run more than 100000 times"):
        template.render({"x": [0] * 1000})


def test_a_wide_expression_costs_its_width() -> None:
    template = compile("{{each x}}{{if " + " + ".join(["(1*1*1)"] * 30) + " > 0}}{{end}}{{end}}", TEXT)
    with pytest.raises(TemplateRenderError, match="rendering takes more than 1000 steps"):
        template.render({"x": [0] * 20}, limits=Limits(steps=1000))


def test_the_length_of_a_long_string_costs_its_length() -> None:
    template = compile("{{each x}}{{#y}}{{end}}", TEXT)
    with pytest.raises(TemplateRenderError, match="rendering takes more than 1000 steps"):
        template.render({"x": [0] * 3, "y": "ü" * 64_000}, limits=Limits(steps=1000))


def test_dynamic_content_within_itself() -> None:
    source = "{{render_dynamic_content(dynamic_html.a)}}"
    with pytest.raises(TemplateRenderError, match="more than 3 levels deep"):
        compile(source, HTML).render({"dynamic_html": {"a": source}})


def test_the_deepest_of_all() -> None:
    """Every level that is allowed, at once: Python's own stack is enough."""
    inner = (
        "{{if t}}" * 50
        + "{{"
        + "(" * 98
        + "t"
        + ")" * 98
        + "}}{{render_dynamic_content(dynamic_html.%s)}}"
        + "{{end}}" * 50
    )
    data = {"t": True, "dynamic_html": {"a": inner % "b", "b": inner % "c", "c": "{{" + "+".join("1" * 100) + "}}"}}
    assert compile(inner % "a", HTML).render(data) == "true" * 3 + "100"


@pytest.mark.parametrize("part", [HTML, TEXT, AMP], ids=str)
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "{",
            "{{ ",
            "{{ '\"",
            "<a ",
            '<a "',
            "<a x= ",
            "http://",
            "http://a)",
            "[[",
            "[[data-msys-",
            "<template type ",
        ),
        *(
            "{{if a}}{{end}}",
            "{{if a}} {{end}} ",
            "{{if a}}{{end}} \n",
            " ",
            "\n",
            "{{a}}",
            '<a href="http://a/{{a}}">',
        ),
    ],
)
def test_reading_takes_time_in_proportion_to_the_size(piece: str, part: Part) -> None:
    """What takes the square of it would not end before the tests' own time limit."""
    count = min(400_000 // len(piece), 20_000 if "{{" in piece else 400_000)
    for source in (piece * count, "<a " + piece * count + ">", "http://a" + piece * count + "x"):
        try:
            assert compile(source, part).render({}) is not None
        except TemplateSyntaxError as error:
            assert error.line >= 1


# Anything at all

words = st.sampled_from(
    [
        *(
            "{{",
            "}}",
            "{{{",
            "}}}",
            "if ",
            "each ",
            "{{else}}",
            "{{end}}",
            "{{elseif a}}",
            " then",
            "a",
            "b.c",
            "loop_var",
        ),
        *(
            "loop_vars.a",
            "loop_index",
            "[",
            "]",
            "(",
            ")",
            " or ",
            " and ",
            "not ",
            "#",
            "-",
            "+",
            "*",
            "/",
            "==",
            "<",
            "'",
            '"',
        ),
        *(
            "1",
            "0",
            "1e308",
            "nil",
            "true",
            "empty(",
            "render_snippet(",
            "render_dynamic_content(dynamic_html.a)",
            "\n",
            " ",
        ),
        *(
            "opening_single_curly()",
            '<a href="',
            "http://x.example/",
            " data-msys-linkname=",
            ">",
            '[[data-msys-clicktrack="0"]]',
        ),
        *("<template type=amp-mustache>", "</template>", "ü", "\ud800", "\x00", "\\", "\x01", "\x02", "\x03"),
    ]
)
blocks = st.recursive(
    st.sampled_from(
        ["x", "\n", "{{a}}", "{{{b.c}}}", "{{a + b}}", "{{#a}}", "{{loop_var}}", '<a href="http://x.example/{{a}}">']
    )
    | st.just("{{render_dynamic_content(dynamic_html.a)}}"),
    lambda inner: st.builds(
        lambda word, name, body, more: f"{{{{{word} {name}}}}}{body}{more}{{{{end}}}}",
        st.sampled_from(["if", "each"]),
        st.sampled_from(["a", "b", "a < b", "b.c", "loop_var", "not a", "a and b"]),
        inner,
        inner,
    ),
    max_leaves=12,
)
sources = st.lists(words, max_size=25).map("".join) | st.lists(blocks, max_size=5).map("".join) | st.text(max_size=60)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**4000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)
datas = st.dictionaries(
    st.sampled_from(["a", "b", "dynamic_html"]), json_values | st.fixed_dictionaries({"a": sources})
)
parts = st.sampled_from([HTML, TEXT, AMP, header("Subject")])
SMALL = Limits(source=10_000, tags=100, depth=8, output=300, loops=30, steps=300, snippets=2)


@given(source=sources, part=parts, data=datas, tracks=st.booleans())
def test_nothing_but_template_errors_and_never_beyond_the_limits(
    source: str, part: Part, data: dict[str, object], tracks: bool
) -> None:
    def track(click: Click) -> str:
        assert click.url.lower().startswith(("http://", "https://"))
        return "https://t.example/1"

    try:
        template = compile(source, part, limits=SMALL)
        text = template.render(data, limits=SMALL, track=track if tracks else None)
    except TemplateError as error:
        lines = source.split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        assert error.problem in str(error)
    else:
        assert len(text) <= 300
        assert part.kind is not Kind.HEADER or not set(text) & set("\r\n\0")
        assert compile(source, part).render(data, track=track if tracks else None) == text


@given(text=st.text(max_size=200))
def test_text_without_braces_and_marks_stays(text: str) -> None:
    text = text.replace("{", "(")
    for part in (HTML, TEXT, AMP):
        assert compile(text, part).render({}) == text


@given(value=st.text(max_size=60))
def test_no_value_leaves_its_place_in_html_or_an_address(value: str) -> None:
    assert not set(compile("{{x}}", HTML).render({"x": value})) & set("<>\"'")
    link = compile('<a href="http://a.example/?q={{x}}">', HTML).render({"x": value})
    assert link.removeprefix('<a href="http://a.example/?q=').removesuffix('">').replace("%", "").isascii()
    assert not set(link[len('<a href="') : -2]) & set("<>\"' &#")


@given(name=st.text(st.sampled_from("abcxyz_"), min_size=1, max_size=8), junk=st.sampled_from("%^:;=!?~`@$&|,"))
def test_unknown_syntax_is_refused_with_its_place(name: str, junk: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile("a\n{{x_" + name + " " + junk + " 1}}", HTML)
    assert caught.value.problem == f"syntax error near '{junk}'"
    assert (caught.value.line, caught.value.column) == (2, len(name) + 6)
