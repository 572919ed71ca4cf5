"""Who asks: an API key, and the subaccount it acts as (api.md 1.2, 1.9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from postroad.api.grants import allows
from postroad.auth import AuthFailure, Key
from postroad.inject.http import Code, Failure

PRIMARY = 0  # the primary account, as a subaccount number
_MOST = 2**31 - 1  # the greatest subaccount number: integers are 32 bits (api.md 1.1)
_SENDS = "transmissions/modify"


class Keys(Protocol):
    """The valid keys; asked at each request, so that a revoked key is dead at once."""

    def authenticate(self, authorization: bytes | None, peer: str) -> Key | AuthFailure: ...


class Subaccounts(Protocol):
    def status(self, number: int) -> str | None:
        """active, suspended or terminated; None: there is none. number: never PRIMARY."""


class NoSubaccounts:
    """Where none are kept."""

    def status(self, number: int) -> str | None:
        return None


NO_SUBACCOUNTS = NoSubaccounts()


class Caller(NamedTuple):
    """subaccount: whose everything is that the request makes or changes. only: what it may see is this one's; None:
    the primary account asked about all. A key of a subaccount always has both alike. peer: the client's address."""

    subaccount: int
    only: int | None
    key: Key
    peer: str

    @property
    def grants(self) -> frozenset[str]:
        return self.key.grants

    @property
    def bound(self) -> bool:
        """Is it a key of a subaccount? What belongs to the primary account alone is not for it."""
        return self.key.subaccount is not None

    def sees(self, subaccount: int) -> bool:
        """May it look at an object of this subaccount?"""
        return self.only is None or self.only == subaccount

    def may(self, grant: str) -> bool:
        return allows(self.key.grants, grant)


Admit = Callable[[Caller], dict[str, str]]


def free(_: Caller) -> dict[str, str]:
    """Admits everybody."""
    return {}


def find_caller(scope: Mapping[str, Any], grant: str, keys: Keys, subaccounts: Subaccounts) -> Caller:
    """Who asks for something that needs this grant ("" needs none but a key). scope: of ASGI. Raises Failure."""
    headers = scope["headers"]
    peer = peer_of(scope)
    key = keys.authenticate(header(headers, b"authorization"), peer)
    if key is AuthFailure.FORBIDDEN:
        raise Failure(Code.FORBIDDEN, "the key may not be used from this address")
    if not isinstance(key, Key):
        raise Failure(Code.UNAUTHORIZED)
    if grant and not allows(key.grants, grant):
        raise Failure(Code.FORBIDDEN, f"the key lacks the grant {grant!r}")
    named = _named(header(headers, b"x-msys-subaccount"))
    if key.subaccount is not None:
        if named not in (None, key.subaccount):
            raise Failure(Code.FORBIDDEN, "the key is bound to another subaccount than X-MSYS-SUBACCOUNT names")
        named = key.subaccount
    if named is None:
        return Caller(PRIMARY, None if scope["method"] in ("GET", "HEAD") else PRIMARY, key, peer)
    if named != PRIMARY:
        _check_status(named, subaccounts.status(named), bound=key.subaccount is not None, grant=grant)
    return Caller(named, named, key, peer)


def _check_status(number: int, status: str | None, *, bound: bool, grant: str) -> None:
    """A suspended subaccount can't send; one that is terminated can do nothing, but the primary account may look at
    what it left."""
    if status is None:
        raise Failure(Code.INVALID_PARAMS, f"X-MSYS-SUBACCOUNT: there is no subaccount {number}")
    if (status != "active" and grant == _SENDS) or (status == "terminated" and bound):
        raise Failure(Code.FORBIDDEN, f"subaccount {number} is {status}")


def _named(value: bytes | None) -> int | None:
    if value is None:
        return None
    text = value.strip()
    if not text.isdigit() or len(text) > 10 or int(text) > _MOST:
        raise Failure(Code.INVALID_PARAMS, "X-MSYS-SUBACCOUNT must be a whole number")
    return int(text)


def header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    """The first field of this name, in lower case."""
    return next((value for name, value in headers if name == wanted), None)


def peer_of(scope: Mapping[str, Any]) -> str:
    client = scope.get("client")
    return client[0] if client else ""
