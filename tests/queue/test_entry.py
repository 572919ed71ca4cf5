import sys

from hypothesis import given
from hypothesis import strategies as st

from postroad.queue.entry import Entry, State, Why, unpack

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)


@given(
    st.builds(
        Entry,
        st.integers(0, (1 << 64) - 1),
        u16,
        u16,
        u32,
        u32,
        u32,
        u32,
        st.sampled_from(State),
        st.sampled_from(Why),
        st.integers(0, 599),
        u32,
    )
)
def test_round_trip(entry: Entry) -> None:
    assert unpack(entry.pack()) == entry


def test_a_waiting_message_stays_small() -> None:
    packed = Entry(1, 2, 3, 4, 5, 6, 7, State.ACTIVE, Why.RECEIVED, 0, 2).pack()
    assert sys.getsizeof(packed) <= 80


def test_attempts_saturate() -> None:
    assert unpack(Entry(1, 2, 10**9, 4, 5, 6, 7, State.ACTIVE, Why.RECEIVED, 0).pack()).attempts == 0xFFFF
