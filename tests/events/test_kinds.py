import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.events import Kind, event_id

IDS = st.integers(1, (1 << 64) - 1)
ATTEMPTS = st.integers(0, 4095)


@given(st.lists(st.tuples(IDS, st.sampled_from(Kind), ATTEMPTS), unique=True))
def test_an_event_id_is_decimal_digits_and_names_one_event(events: list[tuple[int, Kind, int]]) -> None:
    names = [event_id(*event) for event in events]
    assert all(name.isdigit() and name.isascii() for name in names)
    assert len(set(names)) == len(events)


def test_event_ids_are_a_promise_to_consumers() -> None:
    # A change of this value makes every consumer count the events of the upgrade twice.
    assert event_id(0x0123456789ABCDEF, Kind.DELIVERY, 3) == str(0x0123456789ABCDEF_003_02)
    assert [int(kind) for kind in Kind] == [1, 2, 3, 4, 5, 6]


def test_attempts_beyond_the_room_do_not_spill_into_the_message_id() -> None:
    assert event_id(7, Kind.DELAY, 1 << 20) == event_id(7, Kind.DELAY, 4095) != event_id(8, Kind.DELAY, 0)


def test_a_kind_is_found_by_its_type() -> None:
    assert [Kind.of(kind.type_name) for kind in Kind] == list(Kind)
    with pytest.raises(ValueError, match=r"no event type 'reception'; known: injection, delivery"):
        Kind.of("reception")
