"""Good inputs made bad: a seeded mutator. The same seed makes the same inputs, so that a find can be made again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

MAX = 4096  # octets of an input

_TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b" ",
        b"\t",
        b".",
        b"\r\n.\r\n",
        b";",
        b":",
        b"=",
        b'"',
        b"<",
        b">",
        b"(",
        b"\\",
    ),
    *(b"--", b"%", b"/", b",", b"0", b"-1", b"9" * 20, b"=?utf-8?q?=0d=0a?=", b"\r\n ", b"\xe2\x80\xa8", b"x" * 100),
]


def mutations(seeds: Sequence[bytes], tokens: Sequence[bytes], seed: int, rounds: int) -> Iterator[bytes]:
    """So many inputs: each is one of the seeds after one to eight changes. tokens: words of the language."""
    rng = Random(seed)
    words = [*tokens, *_TOKENS]
    for _ in range(rounds):
        data = bytearray(rng.choice(seeds)[:MAX])
        for _ in range(1 << rng.randrange(4)):
            _change(data, rng, seeds, words)
        yield bytes(data[:MAX])


def _change(data: bytearray, rng: Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + (1 << rng.randrange(8)))
    kind = rng.randrange(7)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:end]
    elif kind == 2:
        data[at:at] = data[at:end] * rng.choice((1, 1, 1, 20))
    elif kind == 3:
        data[at:at] = rng.choice(words)
    elif kind == 4:
        data[at:end] = rng.choice(words)
    elif kind == 5:
        other = rng.choice(seeds)[:MAX]
        from_ = rng.randrange(len(other) + 1)
        data[at:] = other[from_:]
    else:
        other_at = rng.randrange(len(data) + 1)
        data[other_at:other_at] = data[at:end]
