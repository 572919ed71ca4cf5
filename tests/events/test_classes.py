import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.events import BounceClass, basic_class
from postroad.message import Reply

CASES = [
    (550, "5.1.1 no such user", False, 10),
    (550, "no such user", False, 40),  # without an enhanced code a 550 may mean anything
    (450, "4.1.1 unverified address", False, 70),
    (550, "5.1.2 domain not found", True, 21),
    (556, "5.1.10 null MX", True, 10),
    (556, "we take no mail", False, 10),
    (553, "mailbox name not allowed", False, 10),
    (452, "4.2.2 mailbox full", False, 22),
    (552, "5.2.2 over quota", False, 22),
    (552, "over quota", False, 22),
    (552, "5.3.4 too big", False, 23),
    (552, "5.2.3 too big for you", False, 23),
    (421, "4.4.1 no answer from host", True, 24),
    (554, "5.4.7 expired", True, 24),
    (451, "4.4.3 name server did not answer", True, 21),
    (550, "5.4.6 MX leads to a prohibited network", True, 21),
    (550, "5.7.1 refused", False, 50),
    (550, "5.7.1 failed by the operator", True, 25),
    (451, "4.7.1 greylisted", False, 70),
    (554, "transaction failed", False, 40),
    (421, "try later", False, 70),
    (554, "5.1.1.1 not an enhanced code", False, 40),
    (554, "", False, 40),
]


@pytest.mark.parametrize(("code", "text", "internal", "expected"), CASES)
def test_a_reply_has_its_class(code: int, text: str, internal: bool, expected: int) -> None:
    assert basic_class(Reply(code, text), internal) == expected


@given(st.integers(400, 599), st.text(), st.booleans())
def test_every_reply_has_a_class(code: int, text: str, internal: bool) -> None:
    assert isinstance(basic_class(Reply(code, text), internal), BounceClass)


@given(st.integers(400, 499), st.integers(0, 12), st.integers(0, 30))
def test_a_temporary_reply_never_condemns_an_address(code: int, subject: int, detail: int) -> None:
    assert basic_class(Reply(code, f"4.{subject}.{detail} x")) not in (
        BounceClass.INVALID_RECIPIENT,
        BounceClass.MAIL_BLOCK,
    )
