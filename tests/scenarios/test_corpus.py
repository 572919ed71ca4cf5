"""Real-world mail of every shape through a real Postroad to real far ends: in by swaks, smtplib and HTTP, out equal.

Nothing is skipped: what can't be carried has to be refused, with the reply that says why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from email.policy import compat32
from email.utils import parseaddr

import pytest

from tests.scenarios import clients
from tests.scenarios.clients import Client
from tests.scenarios.corpus import messages
from tests.scenarios.real_ends import Aiosmtpd, SmtpSink, added
from tests.scenarios.scene import Scene, playing

# Why a message is refused: part of the reply.
NUL = "NUL"
NOT_UTF8 = "input not UTF-8"
NO_FIELD = "does not begin with a header field"
NO_SENDER = "needs one From address"

_ADDRESS = re.compile(r"(?:\"[^\"]*\"|[^@\\\s<>\"]+)@(?:[a-z0-9-]+\.)*[a-z][a-z0-9-]*", re.IGNORECASE)


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("sink")
    with SmtpSink(folder / "arrived") as far, playing("smtp-sink", folder / "server", far) as scene:
        yield scene


@pytest.fixture(scope="module")
def aiosmtpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Aiosmtpd() as far, playing("aiosmtpd", tmp_path_factory.mktemp("aiosmtpd"), far) as scene:
        yield scene


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Scene:
    found: Scene = request.getfixturevalue(request.param)
    return found


def test_it_is_large() -> None:
    """A corpus that has gone missing would pass all that follows."""
    assert len(messages()) >= 200


PAIRS = [
    ("aiosmtpd", clients.swaks),
    ("aiosmtpd", clients.smtp_lib),
    ("aiosmtpd", clients.http_lib),
    ("sink", clients.smtp_lib),
    ("sink", clients.bdat),
    ("sink", clients.http_lib),
]


@pytest.mark.parametrize(
    ("scene", "client"), PAIRS, indirect=["scene"], ids=lambda part: getattr(part, "__name__", part)
)
def test_the_corpus_arrives_as_it_was_sent(scene: Scene, client: Client) -> None:
    samples = [(sample, scene.address()) for sample in messages()]
    with ThreadPoolExecutor(2) as threads:
        said = list(threads.map(lambda pair: client(scene.server, "a@sender.test", pair[1], pair[0].content), samples))
    arrived = scene.arrived()
    over_http = client is clients.http_lib
    refusals: Counter[str] = Counter()
    for (sample, recipient), reply in zip(samples, said, strict=True):
        why = refusal_over_http(sample.content) if over_http else refusal_over_smtp(sample.content)
        if why:
            assert reply.code >= 400, sample.name
            assert why in reply.text, sample.name
            assert recipient not in arrived, sample.name
            refusals[why] += 1
        else:
            assert reply.code in (200, 250), (sample.name, reply)
            assert added(arrived[recipient].content, sample.content) == trace(sample.content, over_http), sample.name
    # Most must get through, and no reason may be there for nothing.
    assert refusals.keys() == ({NUL, NOT_UTF8, NO_FIELD, NO_SENDER} if over_http else {NUL})
    assert refusals.total() <= len(samples) * (0.2 if over_http else 0.02)


def refusal_over_smtp(content: bytes) -> str:
    return NUL if b"\0" in content else ""


def refusal_over_http(content: bytes) -> str:
    """JSON is UTF-8, and an API that signs mail for its sender wants to know who that is (api.md 2.5)."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    if b"\0" in content:
        return NUL
    if not re.match(rb"[^:\s]+:", content):
        return NO_FIELD
    senders = message_from_bytes(content, policy=compat32).get_all("From", [])
    if len(senders) != 1 or not _ADDRESS.fullmatch(parseaddr(str(senders[0]))[1]):
        return NO_SENDER
    return ""


def trace(content: bytes, over_http: bool) -> list[str]:
    """The fields that are put in front: over HTTP there is no Received."""
    message = message_from_bytes(content, policy=compat32)
    return [
        *([] if over_http else ["Received"]),
        *(name for name in ("Date", "Message-ID") if name not in message),
    ]
