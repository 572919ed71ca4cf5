"""What each verb of the console may be given: one struct a verb, decoded from the socket, from a query and from a body
alike."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from postroad.queue import Selector

_LIMIT = Meta(ge=1, le=1000, description="How many at the most.")


class Arguments(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None."""


class Paths(Arguments, frozen=True, kw_only=True):
    domain: Annotated[str, Meta(description="Only this routing domain.")] = ""
    binding: Annotated[str, Meta(description="Only this binding.")] = ""
    limit: Annotated[int, Meta(ge=1, le=100_000, description="The fullest so many.")] = 100


class Listing(Arguments, frozen=True, kw_only=True):
    domain: Annotated[str, Meta(description="Only this routing domain.")] = ""
    binding: Annotated[str, Meta(description="Only this binding.")] = ""
    state: Annotated[str, Meta(description="active, delayed or in-flight.")] = ""
    limit: Annotated[int, _LIMIT] = 20


class One(Arguments, frozen=True, kw_only=True):
    id: Annotated[str, Meta(description="Message id, 16 hexadecimal digits.")]


class Show(One, frozen=True, kw_only=True):
    content: Annotated[bool, Meta(description="The whole message, up to 1 MB, instead of its header section.")] = False


class OnePath(Arguments, frozen=True, kw_only=True):
    domain: Annotated[str, Meta(description="Routing domain.")]
    binding: Annotated[str, Meta(description="Binding.")] = "default"


class Operation(Selector, frozen=True, kw_only=True):
    """dry_run: count, and show some. token: do it now to the messages that were counted when the token was given."""

    dry_run: Annotated[bool, Meta(description="Only count, and show ten of them.")] = False
    token: Annotated[str, Meta(description="From the first step: do it, to exactly what was counted then.")] = ""


class Fail(Operation, frozen=True, kw_only=True):
    notify: Annotated[bool, Meta(description="Send the senders the notification of failure that they want.")] = False


class Delay(Operation, frozen=True, kw_only=True):
    seconds: Annotated[float, Meta(ge=0, description="From now on. At most queue.max_retry_interval.")] = 0.0


class Rebind(Operation, frozen=True, kw_only=True):
    to: Annotated[str, Meta(description="The new binding.")] = ""


class Reroute(Operation, frozen=True, kw_only=True):
    to: Annotated[str, Meta(description="The routing domain whose hosts shall get the mail.")] = ""


class Flush(Arguments, frozen=True, kw_only=True):
    domain: Annotated[str, Meta(description="Routing domain.")]
    binding: Annotated[str, Meta(description="Only this binding.")] = ""


class Suspend(Arguments, frozen=True, kw_only=True):
    domain: Annotated[str, Meta(description="Routing domain; with no binding, on all of them.")] = ""
    binding: Annotated[str, Meta(description="Binding; with no domain, all its mail.")] = ""
    seconds: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="For how long; absent: until resumed.")
    ] = None
    note: Annotated[str, Meta(max_length=500, description="Why, for whoever asks later.")] = ""
    all: Annotated[bool, Meta(description="All mail; must be said.")] = False


class Resume(Arguments, frozen=True, kw_only=True):
    domain: Annotated[str, Meta(description="As it was suspended.")] = ""
    binding: Annotated[str, Meta(description="As it was suspended.")] = ""
    all: Annotated[bool, Meta(description="What was suspended with `all`.")] = False


class Trace(Arguments, frozen=True, kw_only=True):
    domain: Annotated[str, Meta(description="Sessions to the hosts of this routing domain.")] = ""
    peer: Annotated[str, Meta(description="Sessions with hosts of this network, in and out.")] = ""
    seconds: Annotated[float, Meta(gt=0, le=3600, description="For how long.")] = 60.0


class Log(Arguments, frozen=True, kw_only=True):
    limit: Annotated[int, _LIMIT] = 50
