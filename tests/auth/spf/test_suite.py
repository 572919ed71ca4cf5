"""The published suite passes whole."""

from __future__ import annotations

import pytest

from postroad.auth.spf import check_host
from tests.auth.spf.suite import Case, Zone, cases


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
async def test_suite(case: Case) -> None:
    outcome = await check_host(case.client, case.mail_from, case.helo, Zone(case.zone))
    assert outcome.result.value in case.results, outcome
    if case.explanation is not None and outcome.result.value == "fail":
        assert outcome.explanation == case.explanation
