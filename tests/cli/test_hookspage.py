"""The reference page of hooks has all there is."""

from __future__ import annotations

from postroad.cli.reference import PAGES
from postroad.policy import PHASES, Content
from postroad.policy.rules import FUNCTIONS, VARIABLES


def test_everything_is_on_the_page() -> None:
    page = PAGES["hooks.md"]()
    for phase in PHASES.values():
        assert f"| `{phase.name}` | [{phase.facts.__name__}](#{phase.facts.__name__.lower()}) |" in page
        assert f"\n### {phase.facts.__name__}\n" in page
        assert all(f"| `{kind.__name__}(" in page for kind in phase.verdicts)
    assert all(f"| `{name}` |" in page for name in VARIABLES)
    assert all(f"| `{name}(" in page for name in FUNCTIONS)
    members = [name for name in vars(Content) if not name.startswith("_") and name != "changed"]
    assert all(f"| `{name}" in page for name in members)
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert not [row for row in rows if "|  |" in row], "a cell without meaning"


def test_phases_that_are_neighbours_are_joined() -> None:
    page = PAGES["hooks.md"]()
    assert "| `peer` | IP address of the client | `connect` to `final_validation` |" in page
    assert "`rcpt_to`, `each_recipient` to `before_attempt`" in page
