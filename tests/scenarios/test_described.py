"""The OpenAPI document against a live server, by schemathesis: requests that fit it and those that do not. Nothing is
answered with 500, with a status that the document does not have, or with a body of another shape than it says."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from requests.structures import CaseInsensitiveDict
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.scenarios.foreign import Foreign, foreign

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = int(os.environ.get("POSTROAD_DESCRIBED", "4"))  # of each operation, kind of key and mode
ENDLESS = "/api/admin/v1/trace"  # a stream for as long as the client listens
UNSERVED = 501  # of what this server says plainly that it has not
CONTENT = {"from": "news@sender.test", "subject": "Hello {{name}}", "text": "Hello"}
# There is one of each, so that requests get past "there is none": path parameters are set to it in every other request.
MADE: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/templates", {"id": "known", "content": CONTENT, "published": True}),
    ("POST", "/snippets", {"id": "known", "content": {"text": "t"}}),
    ("POST", "/recipient-lists", {"id": "known", "recipients": ["a@one.test"]}),
    ("PUT", "/suppression-list", {"recipients": [{"recipient": "known@one.test", "type": "transactional"}]}),
    ("POST", "/subaccounts", {"name": "Known", "setup_api_key": False}),
)


class Answers(NamedTuple):
    """statuses: how often each came. wrong: what is not as described, told once an operation and status."""

    statuses: Counter[int]
    wrong: dict[tuple[str, int], str]


class Described(NamedTuple):
    place: Foreign
    operations: list[APIOperation[Any, Any, Any, Any]]
    session: requests.Session
    keys: dict[str, str | None]

    def ask(self, kind: str, mode: GenerationMode, examples: int) -> Answers:
        """Requests of this mode to every operation, with this kind of key."""
        answers = Answers(Counter(), {})
        for operation in self.operations:
            known = False

            @settings(
                max_examples=examples,
                derandomize=True,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.explicit, Phase.generate],
            )
            @given(operation.as_strategy(generation_mode=mode))
            def run(case: Case[Any]) -> None:
                nonlocal known
                known = not known
                self._one(case, self.keys[kind], answers, known=known)

            try:
                run()
            except Unsatisfiable:
                # It takes nothing that could be wrong.
                assert mode is GenerationMode.NEGATIVE, operation.label
        return answers

    def _one(self, case: Case[Any], key: str | None, answers: Answers, *, known: bool) -> None:
        headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != "authorization"}
        if key is not None:
            headers["Authorization"] = key
        if known:
            headers.pop("X-MSYS-SUBACCOUNT", None)
            if case.path_parameters:
                case.path_parameters = {
                    name: "known@one.test" if name == "recipient" else "1" if "subaccounts" in case.path else "known"
                    for name in case.path_parameters
                }
        case.headers = CaseInsensitiveDict(headers)
        response = case.call(session=self.session)
        status = response.status_code
        answers.statuses[status] += 1
        label = f"{case.operation.label}: {case.as_curl_command()[:500]}\n{response.content[:500]!r}"
        if status >= 500 and status != UNSERVED:
            answers.wrong[case.operation.label, status] = label
            return
        try:
            case.validate_response(response, checks=CHECKS)
        except* Exception as errors:
            told = "\n".join(str(error) for error in errors.exceptions)
            answers.wrong[case.operation.label, status] = f"{label}\n{told}"


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    with foreign(tmp_path_factory.mktemp("described")) as place:
        for method, path, body in MADE:
            status, answer = place.ask(method, path, body)
            assert status == 200, answer
        grants = {
            "key_label": "k",
            "key_grants": ["transmissions/modify", "templates/modify", "suppression_lists/manage"],
        }
        status, answer = place.ask("POST", "/subaccounts", {"name": "Sub", **grants})
        assert status == 200, answer
        status, document = place.ask("GET", "/openapi.json")
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=f"http://127.0.0.1:{place.server.http_port}")
        operations = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
        assert len(operations) == sum(len(methods) for methods in document["paths"].values())
        operations = [each for each in operations if each.path != ENDLESS]
        keys = {"all": place.key, "subaccount": answer["results"]["key"], "mail alone": place.server.key, "none": None}
        with requests.Session() as session:
            yield Described(place, operations, session, keys)


FITS, DOES_NOT = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


@pytest.mark.parametrize(
    ("kind", "mode", "examples", "seen"),
    [
        ("all", FITS, EXAMPLES, 200),
        ("all", DOES_NOT, EXAMPLES - 1, 400),
        ("subaccount", FITS, 2, 200),
        ("mail alone", FITS, 2, 403),
        ("none", FITS, 2, 401),
    ],
)
def test_what_is_answered_is_described(
    described: Described, kind: str, mode: GenerationMode, examples: int, seen: int
) -> None:
    answers = described.ask(kind, mode, examples)
    assert not answers.wrong, "\n\n".join(answers.wrong.values())
    assert answers.statuses[seen], "they did not come as far as they were meant to"


@pytest.mark.soak
@pytest.mark.parametrize("mode", [FITS, DOES_NOT])
@pytest.mark.parametrize("kind", ["all", "subaccount", "mail alone", "none"])
def test_what_is_answered_is_described_at_length(described: Described, kind: str, mode: GenerationMode) -> None:
    answers = described.ask(kind, mode, 30 * EXAMPLES)
    assert not answers.wrong, "\n\n".join(answers.wrong.values())
