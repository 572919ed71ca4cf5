import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.ids import IdSource, message_id_text, parse_message_id

NOW = 1_790_000_000.0


@given(st.lists(st.floats(0, 4_000_000_000), min_size=1, max_size=50), st.integers(0, 63))
def test_ids_grow_however_the_clock_jumps(times: list[float], engine: int) -> None:
    clock = iter(times)
    source = IdSource(lambda: next(clock), engine)
    ids = [source.next() for _ in times]
    assert ids == sorted(set(ids))
    assert all(number >> 16 & 63 == engine for number in ids)


def test_more_ids_in_a_millisecond_than_the_counter_holds() -> None:
    source = IdSource(lambda: NOW, 5)
    ids = [source.next() for _ in range(200_000)]
    assert len(set(ids)) == len(ids) and ids == sorted(ids)
    assert {number >> 16 & 63 for number in ids} == {5}


def test_two_engines_never_meet() -> None:
    ids = [IdSource(lambda: NOW, engine).next() for engine in range(64)]
    assert len(set(ids)) == 64


def test_ids_found_by_recovery_are_not_given_again() -> None:
    used = IdSource(lambda: NOW).next()
    source = IdSource(lambda: NOW - 3600)
    source.seen(used)
    source.seen(used - 10)
    assert source.next() > used
    assert IdSource(lambda: 0.0, last=used).next() > used


def test_text_forms() -> None:
    number = IdSource(lambda: NOW, 1).next()
    assert parse_message_id(message_id_text(number)) == number
    assert len(message_id_text(number)) == 16 and len(str(number)) in (17, 18)
    for bad in ("", "12", "g" * 16, "0" * 17):
        with pytest.raises(ValueError, match=r"."):
            parse_message_id(bad)


def test_engine_numbers_are_bounded() -> None:
    with pytest.raises(ValueError, match=r"0\.\.63"):
        IdSource(lambda: NOW, 64)
