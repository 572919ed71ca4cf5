"""The state of one rendering, and the kinds of closures that a template is compiled to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from postroad.generate.template.errors import Fault
from postroad.generate.template.limits import Limits

if TYPE_CHECKING:
    from postroad.generate.template.template import Template


class Click(NamedTuple):
    """A link whose clicks may be counted, as it is for one recipient. number: which of the source's links, from 0;
    -1 in dynamic content and snippets."""

    url: str
    name: str
    unsubscribe: bool
    sublink: str
    number: int


# Gives the address to write in place of the link's own, or None to leave it alone.
Track = Callable[[Click], "str | None"]
Resolve = Callable[[str], "Template | None"]


class Frame:
    """The state of one rendering."""

    __slots__ = (
        "data",
        "level",
        "limits",
        "loop_index",
        "loop_var",
        "loop_vars",
        "loops",
        "out",
        "owner",
        "resolve",
        "room",
        "snippets",
        "steps",
        "strict",
        "track",
    )

    def __init__(
        self,
        owner: Template,
        data: dict[str, object],
        limits: Limits,
        resolve: Resolve | None,
        track: Track | None,
        strict: bool,
    ) -> None:
        self.owner = owner
        self.data = data
        self.limits = limits
        self.resolve = resolve
        self.track = track
        self.strict = strict
        self.out: list[str] = []
        self.steps = limits.steps
        self.room = limits.output
        self.loops = limits.loops
        self.snippets = limits.snippets
        self.level = 0
        self.loop_var: object = None
        self.loop_index: object = None
        self.loop_vars: dict[str, object] = {}

    def spend(self, steps: int, room: int, at: int) -> None:
        self.steps -= steps
        self.room -= room
        if self.steps < 0:
            raise Fault(f"rendering takes more than {self.limits.steps} steps", at)
        if self.room < 0:
            raise Fault(f"output is larger than {self.limits.output} characters", at)


Value = Callable[[Frame], object]
Act = Callable[[Frame], None]
Escape = Callable[[str], str]
