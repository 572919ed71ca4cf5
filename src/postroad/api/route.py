"""A route of the management API, declared once: routing, keys, reading, and the OpenAPI document are made of this."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from msgspec import Struct

from postroad.api.callers import Caller
from postroad.api.grants import needed
from postroad.inject.http import Code

T = TypeVar("T")
B = TypeVar("B", bound=Struct)
Q = TypeVar("Q", bound=Struct)

V1 = "/api/v1"
LABS = "/api/labs"
MAX_BODY = 5 << 20  # octets, where the route does not say


class Nothing(Struct):
    """No parameters, no body; as an answer: `{}`."""


class Results(Struct, Generic[T]):
    """The plain success: everything in `results`."""

    results: T


class Told(Struct):
    """A sentence that says what was done."""

    message: str


_NOTHING: Any = Nothing  # the default of a type that the handler's annotation decides


@dataclass(slots=True)
class Ask(Generic[B, Q]):
    """A request that was let in and read. path: the values of {names} in the path, decoded. octets: of a `raw` route:
    reads the body, unpacked; it is dead when the handler ends. It raises Failure when there is too much."""

    caller: Caller
    path: Mapping[str, str]
    query: Q
    body: B
    headers: Mapping[str, str]
    octets: Callable[[], Awaitable[bytes | bytearray]]


PlainAsk = Ask[Nothing, Nothing]  # neither body nor parameters


@dataclass(slots=True)
class Answer:
    """Another answer than a 200 with JSON. content: a value for JSON, octets, or octets piece by piece."""

    content: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


@dataclass(frozen=True, kw_only=True)
class Route(Generic[B, Q]):
    """handler: returns the whole answer as Struct, mapping or list, which becomes 200; None: 204; or an Answer. It
    raises Failure or Refusal; a StoreError becomes 503 with Retry-After.

    path: below the base, as in "/templates/{id}". answers: the shape of the 200, None where it is always 204. query,
    body: Structs that name the parameters and members, with docs, so that all is described. refuses: the codes it may
    refuse with, beside those that any route may. grant: None takes the one of api.md 20.2 for path and method; "": any
    key; anonymous: not even one. optional_body: an empty one is read as {}. raw: the handler reads the body, in
    whatever type `takes` says.
    """

    method: str
    path: str
    handler: Callable[[Ask[B, Q]], Awaitable[Any]]
    summary: str
    answers: Any = Nothing
    query: type[Q] = _NOTHING
    body: type[B] = _NOTHING
    refuses: tuple[Code, ...] = ()
    refuses_with: Mapping[int, str] = field(default_factory=dict)
    grant: str | None = None
    anonymous: bool = False
    description: str = ""
    bases: tuple[str, ...] = (V1,)
    max_body: int = MAX_BODY
    optional_body: bool = False
    raw: bool = False
    media_type: str = "application/json"
    takes: str = "application/json"
    example: Any = None

    @property
    def needs(self) -> str:
        """The grant."""
        return needed(self.path, self.method) if self.grant is None else self.grant

    @property
    def has_body(self) -> bool:
        return self.raw or cast(Any, self.body) is not Nothing
