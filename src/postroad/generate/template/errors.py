"""What can be wrong with a template, in the words clients know (api.md 1.7, 3.3, 4.13)."""

from __future__ import annotations

from typing import ClassVar


class Fault(Exception):
    """Inside the package: what is wrong, and at which offset of the source. A Template makes a TemplateError of it."""

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.at = at


class TemplateError(ValueError):
    """str(): the `description` of the API's error. line and column count from 1, inside the part.

    part: as the API names it: `text`, `html`, `amp_html`, `Header:Subject`.
    """

    code: ClassVar[str]
    message: ClassVar[str]
    verb: ClassVar[str]

    def __init__(self, problem: str, part: str, line: int, column: int) -> None:
        kind, _, name = part.partition(":")
        # Headers are one line: clients are not told which.
        where = f"header {name}" if kind == "Header" else f"part {part}: line {line}"
        super().__init__(f"Error while {self.verb} {where}: {problem}")
        self.problem = problem
        self.part = part
        self.line = line
        self.column = column


class TemplateSyntaxError(TemplateError):
    """The source is not of the language, or larger than allowed. Found when it is compiled."""

    code = "3000"
    message = "substitution language syntax error in template content"
    verb = "compiling"


class TemplateRenderError(TemplateError):
    """The data does not fit the template, or rendering would go beyond its limits: this recipient gets no mail."""

    code = "3001"
    message = "substitution language render error"
    verb = "rendering"


def place(source: str, at: int) -> tuple[int, int]:
    """Line and column of an offset, from 1."""
    begin = source.rfind("\n", 0, at) + 1
    return source.count("\n", 0, begin) + 1, at - begin + 1
