"""Jobs and their progress: what is told in any order, and what a crash leaves of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroad.journal import JOB_SLICE, MAX_JOB, JobCount, Progress
from postroad.queue.jobs import About, Phase, decode_job, encode_job, is_job, unbalanced
from postroad.queue.stored import Envelope


@given(st.integers(0, MAX_JOB), st.integers(0, (1 << JOB_SLICE) - 1), st.integers(0, MAX_JOB))
def test_progress_is_kept_in_64_bits(base: int, mask: int, failed: int) -> None:
    progress = Progress(base, mask, failed)
    assert progress.pack() < 1 << 64
    assert Progress.unpack(progress.pack()) == progress


@given(st.integers(1, 100), st.randoms())
def test_what_is_told_in_any_order_within_slices_adds_up(total: int, chance: object) -> None:
    """As it is generated: slice by slice, in each in any order, some events told again."""
    shuffle = chance.shuffle  # type: ignore[attr-defined]
    progress = Progress()
    done: set[int] = set()
    for base in range(0, total, JOB_SLICE):
        places = list(range(base, min(base + JOB_SLICE, total)))
        shuffle(places)
        for at in [*places, places[0]]:
            progress = progress.joined(Progress.of(at))
            done.add(at)
            assert all(progress.covers(each) == (each in done) for each in range(total + 1))


def test_an_older_event_takes_nothing_back() -> None:
    far = Progress(48, 0b101, 3)
    assert far.joined(Progress(24, 0b111, 1)) == far == Progress(24, 0b111, 1).joined(far)
    assert Progress(24, 1, 5).joined(Progress(48, 0, 2)) == Progress(48, 0, 5)


def test_a_record_of_a_job_is_told_from_mail() -> None:
    import msgspec

    about = About(5, 1, 1e9, 7, "autumn", b"{}", "key", b"digest", b"{}", {"remote_addr": "192.0.2.1"})
    meta = encode_job(about)
    assert is_job(meta)
    assert decode_job(meta) == about
    assert not is_job(msgspec.msgpack.encode(Envelope([], "", 0, "", False, "rest", {}, {})))


def test_audit_of_a_job() -> None:
    meta = encode_job(About(30, 2))

    def count(made: int, failed: int, phase: Phase = Phase.ACTIVE, progress: Progress | None = None) -> JobCount:
        return JobCount(meta, True, made, failed, phase, progress or Progress(48))

    assert unbalanced(count(27, 1, Phase.SUCCESS)) is None
    assert unbalanced(count(27, 0, Phase.SUCCESS)) == "28 recipients, but 27 were accepted and 0 failed"
    assert unbalanced(count(29, 0, Phase.SUCCESS)) is not None
    assert unbalanced(count(10, 1)) is None
    assert unbalanced(count(25, 4)) is not None
    assert unbalanced(count(3, 0, progress=Progress(0, 0b11))) is not None
    assert unbalanced(count(2, 0, progress=Progress(0, 0b11))) is None
