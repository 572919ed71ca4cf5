import pytest

from postroad.net import split_host_port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host", ("host", 25)),
        ("host:2525", ("host", 2525)),
        ("192.0.2.1:26", ("192.0.2.1", 26)),
        ("[2001:db8::1]:26", ("2001:db8::1", 26)),
        ("[2001:db8::1]", ("2001:db8::1", 25)),
        ("2001:db8::1", ("2001:db8::1", 25)),
    ],
)
def test_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert split_host_port(text, 25) == expected


@pytest.mark.parametrize(
    "text", ["", ":25", "host:", "host:x", "host:0", "host:65536", "host:-1", "[::1", "[::1]25", "h:２"]
)
def test_what_is_neither(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_host_port(text, 25)
