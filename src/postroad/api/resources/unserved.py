"""What the SparkPost API has and Postroad has not (api.md 25, tier 3): said plainly, with 501, instead of made up."""

from __future__ import annotations

from typing import Any, NoReturn

from postroad.api.envelope import Refusal
from postroad.api.office import Office
from postroad.api.route import PlainAsk, Route

_ROUTES = (
    ("GET", "/usage", "Messages used of a plan", "There are no plans here; counts of mail are under /metrics."),
    (
        "GET",
        "/recipient-validation/single/{address}",
        "Is this address deliverable?",
        "Addresses are not judged before mail is sent to them.",
    ),
    (
        "POST",
        "/data-privacy/rtbf-request",
        "Forget recipients",
        "Events expire by themselves; nothing is erased on request.",
    ),
    (
        "POST",
        "/data-privacy/opt-out-request",
        "Recipients who object",
        "Put the recipients on the suppression list: PUT /suppression-list.",
    ),
)


def routes(office: Office) -> list[Route[Any, Any]]:
    del office

    def unserved(why: str) -> Any:
        async def refuse(ask: PlainAsk) -> NoReturn:
            raise Refusal(501, {"message": "not implemented", "description": why})

        return refuse

    return [
        Route(
            method=method,
            path=path,
            handler=unserved(why),
            summary=summary,
            description=f"Not served: answers 501. {why}",
            answers=None,
            refuses_with={501: "Always: this server does not have it."},
        )
        for method, path, summary, why in _ROUTES
    ]
