import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import duration_text, parse_duration, parse_size, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1.5 m", 90), ("20m", 1200), ("12h", 43200), ("5d", 432000), ("0s", 0)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "octets"),
    [("0B", 0), ("512b", 512), ("64KB", 65536), ("20 MB", 20 << 20), ("1.5gb", 3 << 29), ("2TB", 2 << 40)],
)
def test_sizes(text: str, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 minutes", "5M", "1h30m", "1e3s", "٣s", "nan", "5m\n5m"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time such as"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "5", "KB", "-5KB", "5KiB", "5 bytes", "1e3KB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="must be a size such as"):
        parse_size(text)


def test_a_part_of_a_byte() -> None:
    with pytest.raises(ValueError, match="not a whole number of bytes"):
        parse_size("1.0001KB")


@given(st.integers(0, 1 << 60) | st.integers(0, 1 << 20).map(lambda n: n << 20))
def test_sizes_read_back(octets: int) -> None:
    assert parse_size(size_text(octets)) == octets


@given(st.integers(0, 10**9) | st.integers(0, 10**6).map(lambda n: n * 60) | st.floats(0.0001, 10**6))
def test_times_read_back(seconds: float) -> None:
    assert parse_duration(duration_text(seconds)) == seconds


def test_the_largest_unit_is_chosen() -> None:
    assert [duration_text(n) for n in (86400, 5400, 1200, 90, 0.5, 0, 1.25)] == (
        ["1d", "90m", "20m", "90s", "500ms", "0s", "1.25s"]
    )
    assert [size_text(n) for n in (0, 1, 1024, 1536, 50 << 20)] == ["0B", "1B", "1KB", "1536B", "50MB"]
