"""/transmissions, but for POST, which engines serve themselves: what is known of those that are generated after their
answer, and cancelling them (api.md 2.8 to 2.10). Engines hold them; all of them are asked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from postroad.api.callers import Caller
from postroad.api.office import Office
from postroad.api.route import LABS, V1, Ask, Nothing, Results, Route
from postroad.inject.http import Code, Failure

_AWAY = "some of the server's engines do not answer just now; ask again in some seconds"


class ContentShown(Struct):
    """What is sent."""

    template_id: Annotated[str, Meta(description="`inline` for inline content.")]
    use_draft_template: bool | UnsetType = UNSET


class TransmissionListed(Struct):
    """One of a list."""

    id: str
    state: Annotated[str, Meta(description="submitted, Generating, Success or Canceled.")]
    description: str
    campaign_id: str
    content: ContentShown
    subaccount_id: int | UnsetType = UNSET


class TransmissionShown(TransmissionListed, kw_only=True):
    """One transmission, and how far it is."""

    num_rcpts: Annotated[int, Meta(description="Recipients that were accepted.")]
    num_generated: Annotated[int, Meta(description="Of those, messages made so far.")]
    num_failed_gen: Annotated[int, Meta(description="Of those, how many could not be made, or were cancelled.")]
    rcpt_list_chunk_size: int
    rcpt_list_total_chunks: int
    generation_start_time: str | UnsetType = UNSET
    generation_end_time: str | UnsetType = UNSET
    metadata: dict[str, Any]
    options: dict[str, Any]
    substitution_data: dict[str, Any] = {}


class One(Struct):
    """The answer's member."""

    transmission: TransmissionShown


class Filter(Struct):
    """Which ones."""

    campaign_id: Annotated[str, Meta(description="Of this campaign alone.")] | None = None
    template_id: Annotated[str, Meta(description="Of this template alone.")] | None = None


class Campaign(Struct):
    """Which ones."""

    campaign_id: Annotated[str, Meta(description="Cancel what has not begun of this campaign (required).")] | None = (
        None
    )


_CHUNK = 24


def routes(office: Office) -> list[Route[Any, Any]]:
    async def answers(verb: str, caller: Caller, **arguments: Any) -> list[Any]:
        """Of each engine; none may be missing."""
        if office.ask is None:
            raise Failure(Code.RESOURCES_UNAVAILABLE, _AWAY, headers={"Retry-After": "5"})
        told = await office.ask(verb, {**arguments, "subaccount": caller.only}, caller.key.label)
        if told.missing:
            raise Failure(Code.RESOURCES_UNAVAILABLE, _AWAY, headers={"Retry-After": "5"})
        for error in told.refused.values():
            raise Failure(Code.INVALID_PARAMS, str(error))
        return list(told.answers.values())

    async def listed(ask: Ask[Nothing, Filter]) -> Results[list[TransmissionListed]]:
        found = await answers(
            "transmissions", ask.caller, campaign=ask.query.campaign_id, template=ask.query.template_id
        )
        rows = sorted((row for each in found for row in each), key=lambda row: -int(row["id"]))
        return Results([TransmissionListed(**_listed(row)) for row in rows])

    async def shown(ask: Ask[Nothing, Nothing]) -> Results[One]:
        wanted = _id(ask.path["id"])
        found = [row for each in await answers("transmissions", ask.caller, id=wanted) for row in each]
        if not found:
            raise _unknown(wanted)
        return Results(One(_shown(found[0])))

    async def cancel(ask: Ask[Nothing, Nothing]) -> None:
        wanted = _id(ask.path["id"])
        found = await answers("cancel_transmissions", ask.caller, id=wanted)
        if any(each["canceled"] for each in found):
            return
        refused = [one for each in found for one in each["refused"]]
        if not refused:
            raise _unknown(wanted)
        if refused[0]["late"]:
            window = office.config().http.schedule_delete
            text = f"Deletion time window ({window:.0f} seconds) doesn't permit transmission deletion"
            raise Failure(Code.TOO_LATE, text)
        state = refused[0]["state"]
        raise Failure(Code.NOT_DELETABLE, f"Unable to delete a transmission that is in progress (state={state})")

    async def cancel_campaign(ask: Ask[Nothing, Campaign]) -> None:
        if not ask.query.campaign_id:
            raise Failure(Code.MISSING_FIELD, "campaign_id is required")
        await answers("cancel_transmissions", ask.caller, campaign=ask.query.campaign_id)

    bases = (V1, LABS)
    return [
        Route(
            method="GET",
            path="/transmissions",
            handler=listed,
            summary="Transmissions that are live, or were in the last 24 hours",
            description="Those to one recipient are not listed: they are over when they are answered.",
            answers=Results[list[TransmissionListed]],
            query=Filter,
            bases=bases,
            refuses=(Code.RESOURCES_UNAVAILABLE,),
        ),
        Route(
            method="GET",
            path="/transmissions/{id}",
            handler=shown,
            summary="One transmission, and how far it is",
            answers=Results[One],
            bases=bases,
            refuses=(Code.NOT_FOUND, Code.INVALID_PARAMS, Code.RESOURCES_UNAVAILABLE),
        ),
        Route(
            method="DELETE",
            path="/transmissions/{id}",
            handler=cancel,
            summary="Cancel a scheduled transmission",
            description="Each recipient's message ends with a bounce event of class 25.",
            answers=None,
            bases=bases,
            refuses=(
                *(Code.NOT_FOUND, Code.INVALID_PARAMS, Code.TOO_LATE, Code.NOT_DELETABLE),
                Code.RESOURCES_UNAVAILABLE,
            ),
        ),
        Route(
            method="DELETE",
            path="/transmissions",
            handler=cancel_campaign,
            summary="Cancel all of a campaign that has not begun",
            description="The answer comes when it is cancelled; bounce events for the recipients follow.",
            answers=None,
            query=Campaign,
            bases=bases,
            refuses=(Code.MISSING_FIELD, Code.RESOURCES_UNAVAILABLE),
        ),
    ]


def _id(text: str) -> str:
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise _unknown(text)
    return text


def _unknown(wanted: str) -> Failure:
    return Failure(Code.NOT_FOUND, f"Resource not found:transmission id {wanted[:64]}")


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    members = {
        "id": row["id"],
        "state": row["state"],
        "description": row["shown"]["description"],
        "campaign_id": row["campaign_id"],
        "content": ContentShown(**row["shown"]["content"]),
    }
    if row["subaccount"]:
        members["subaccount_id"] = row["subaccount"]
    return members


def _shown(row: dict[str, Any]) -> TransmissionShown:
    total: int = row["num_rcpts"]
    shown = TransmissionShown(
        **_listed(row),
        num_rcpts=total,
        num_generated=row["num_generated"],
        num_failed_gen=row["num_failed_gen"],
        rcpt_list_chunk_size=_CHUNK,
        rcpt_list_total_chunks=-(-total // _CHUNK),
        metadata=row["shown"]["metadata"],
        options=row["shown"]["options"],
    )
    if row["began"]:
        shown.generation_start_time = _time(row["began"])
    if row["ended"]:
        shown.generation_end_time = _time(row["ended"])
    return shown


def _time(moment: float) -> str:
    return datetime.fromtimestamp(int(moment), UTC).isoformat()
