"""The text format, read by a parser of its own rules."""

from __future__ import annotations

import re

from postroad.console.metrics import ALARM, METRICS, TOP, Sample, render

_LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')


def test_names_and_kinds() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"postroad_[a-z_]+", metric.name) and metric.help.endswith(".")
        assert (metric.kind == "counter") == metric.name.endswith("_total")


def test_samples_of_a_metric_stand_together_and_labels_are_escaped() -> None:
    text = render(
        [
            Sample(TOP, 5, ("b", 'a"\\\n.example', "active")),
            Sample(ALARM, 0, ("disk",)),
            Sample(TOP, 2.5, ("b", "c.example", "delayed")),
        ]
    )
    lines = text.splitlines()
    assert text.endswith("\n") and [line.split()[1:3] for line in lines if line.startswith("# TYPE")] == [
        ["TYPE", TOP.name],
        ["TYPE", ALARM.name],
    ]
    samples = [_LINE.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(samples) and [match[3] for match in samples if match] == ["5", "2.5", "0"]
    assert 'domain="a\\"\\\\\\n.example"' in text
