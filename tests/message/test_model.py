from hypothesis import given
from hypothesis import strategies as st

from postroad.message import Body


@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"\xff", b"\n"]), max_size=12))
def test_body_knows_its_octets(parts: list[bytes]) -> None:
    content = b"".join(parts)
    body = Body(content, b"Received: x\r\n")
    assert body.dotted == any(line.startswith(b".") for line in content.split(b"\n"))
    assert body.eight_bit == any(octet > 127 for octet in content)
    assert bytes(body) == b"Received: x\r\n" + content and len(body) == len(bytes(body))
