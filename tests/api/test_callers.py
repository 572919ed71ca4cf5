"""Who asks: keys, grants and subaccounts (api.md 1.2, 1.9, 20.2)."""

from __future__ import annotations

from typing import Any

import pytest

from postroad.api.callers import Caller, find_caller
from postroad.api.grants import FAMILIES, allows, needed
from postroad.api.office import Office
from postroad.api.resources import all_routes
from postroad.auth import AuthFailure, Key
from postroad.inject.http import Failure
from tests.api.office import Open

STATUS = {7: "active", 8: "suspended", 9: "terminated"}


class Keys:
    def __init__(self, key: Key | AuthFailure) -> None:
        self._key = key

    def authenticate(self, authorization: bytes | None, peer: str) -> Key | AuthFailure:
        return self._key


class Known:
    def status(self, number: int) -> str | None:
        return STATUS.get(number)


def ask(
    method: str = "GET", named: str | None = None, bound: int | None = None, grant: str = "templates/view"
) -> Caller:
    headers = [] if named is None else [(b"x-msys-subaccount", named.encode())]
    scope: dict[str, Any] = {"method": method, "headers": headers, "client": ("192.0.2.1", 5)}
    key = Key("k", frozenset((grant,)), bound)
    return find_caller(scope, grant, Keys(key), Known())


@pytest.mark.parametrize(
    ("method", "named", "bound", "subaccount", "only"),
    [
        ("GET", None, None, 0, None),
        ("HEAD", None, None, 0, None),
        ("GET", "0", None, 0, 0),
        ("GET", "7", None, 7, 7),
        ("POST", None, None, 0, 0),
        ("PUT", "0", None, 0, 0),
        ("DELETE", " 7 ", None, 7, 7),
        ("GET", "8", None, 8, 8),
        ("GET", "9", None, 9, 9),
        ("GET", None, 7, 7, 7),
        ("POST", None, 7, 7, 7),
        ("GET", "7", 7, 7, 7),
        ("GET", None, 8, 8, 8),
    ],
)
def test_as_whom(method: str, named: str | None, bound: int | None, subaccount: int, only: int | None) -> None:
    caller = ask(method, named, bound)
    assert (caller.subaccount, caller.only) == (subaccount, only)
    assert caller.bound == (bound is not None)
    assert caller.sees(subaccount)
    assert caller.sees(5) == (only is None)


@pytest.mark.parametrize(
    ("named", "bound", "grant", "status"),
    [
        ("x", None, "templates/view", 400),
        ("", None, "templates/view", 400),
        ("-1", None, "templates/view", 400),
        ("1.0", None, "templates/view", 400),
        ("4", None, "templates/view", 400),
        ("2147483648", None, "templates/view", 400),
        ("9" * 5000, None, "templates/view", 400),
        ("\u00b2", None, "templates/view", 400),
        ("0", 7, "templates/view", 403),
        ("8", 7, "templates/view", 403),
        ("8", None, "transmissions/modify", 403),
        (None, 8, "transmissions/modify", 403),
        (None, 9, "templates/view", 403),
        (None, 5, "templates/view", 400),
    ],
)
def test_refused(named: str | None, bound: int | None, grant: str, status: int) -> None:
    with pytest.raises(Failure) as refused:
        ask("POST", named, bound, grant)
    assert refused.value.code.status == status


@pytest.mark.parametrize(("found", "status"), [(AuthFailure.UNAUTHORIZED, 401), (AuthFailure.FORBIDDEN, 403)])
def test_no_key(found: AuthFailure, status: int) -> None:
    scope: dict[str, Any] = {"method": "GET", "headers": [(b"x-msys-subaccount", b"x")], "client": None}
    with pytest.raises(Failure) as refused:
        find_caller(scope, "", Keys(found), Known())
    assert refused.value.code.status == status  # and nothing is told of the rest


@pytest.mark.parametrize(
    ("held", "wanted", "may"),
    [
        ("templates/view", "templates/view", True),
        ("templates/view", "templates/modify", False),
        ("templates/modify", "templates/view", False),
        ("sending_domains/manage", "sending_domains/view", True),
        ("sending_domains/view", "sending_domains/manage", False),
        ("transmissions", "transmissions/modify", True),
        ("transmissions", "templates/view", False),
        ("admin", "webhooks/modify", True),
        ("admin", "metrics", True),
        ("metrics", "metrics/view", True),
        ("metrics", "admin", False),
    ],
)
def test_grants(held: str, wanted: str, may: bool) -> None:
    assert allows({held}, wanted) is may


def test_every_route_needs_the_grant_of_its_family(management: Open) -> None:
    """Those that say so themselves say it for a reason that is written beside them."""
    office: Office = management.office
    for route in all_routes(office):
        if not route.anonymous:
            if route.grant is None:
                assert route.needs == needed(route.path, route.method)
            assert route.path.strip("/").partition("/")[0] in FAMILIES, route.path


async def test_no_route_is_open_without_a_key(management: Open) -> None:
    management.keys.more["nothing"] = Key("nothing", frozenset())
    for route in all_routes(management.office):
        path = route.bases[0] + route.path.replace("{", "").replace("}", "")
        management.api.key = None
        answer = await management.api(route.method, path, whole=True)
        assert answer.status == (200 if route.anonymous else 401), path
        if not route.anonymous and route.needs:
            management.api.key = "nothing"
            assert (await management.api(route.method, path, whole=True)).status == 403, path
