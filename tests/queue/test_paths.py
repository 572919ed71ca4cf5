from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postroad.queue.paths import Path, Paths


def moved(number: int, path: Path, *_: object) -> bool:
    path.join(number, 0, retry=True)
    return True


def pop(path: Path) -> int | None:
    number = path.order.pop(lambda: 0.0)
    if number is not None:
        path.active -= 1
    return number


def test_a_delayed_message_is_released_when_due_and_not_before() -> None:
    paths = Paths()
    path = paths.open("default", "a.example")
    paths.enter(path)
    paths.delay(path, 7, 100.5)
    assert paths.next_due() == 100.5
    assert paths.release(100.4, 10, moved) == []
    assert paths.release(100.5, 10, moved) == [path]
    assert pop(path) == 7 and pop(path) is None and paths.next_due() is None


def test_release_takes_a_slice_at_a_time() -> None:
    paths = Paths()
    path = paths.open("default", "a.example")
    for number in range(10):
        paths.enter(path)
        paths.delay(path, number, 1.0)
    assert paths.release(2.0, 4, moved) == [path] and path.order.count == 4
    assert paths.next_due() == 1.0
    assert paths.release(2.0, 100, moved) == [path] and path.order.count == 10


def test_a_path_without_messages_is_forgotten() -> None:
    paths = Paths()
    path = paths.open("default", "a.example")
    paths.enter(path)
    paths.delay(path, 1, 5.0)
    paths.leave(path)
    assert len(paths) == 0 and paths.get("default", "a.example") is None
    assert paths.release(10.0, 10, moved) == []


class PathsAgainstModel(RuleBasedStateMachine):
    """Every message is in exactly one place, due ones come out in order, and a removed one never comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.paths = Paths()
        self.now = 1000.0
        self.next_id = 1
        self.delayed: dict[int, tuple[str, float]] = {}
        self.active: dict[int, str] = {}
        self.gone: set[int] = set()

    @rule(domain=st.sampled_from("abc"), wait=st.floats(0, 100))
    def delay_new(self, domain: str, wait: float) -> None:
        path = self.paths.open("b", domain)
        self.paths.enter(path)
        due = int((self.now + wait) * 1000) / 1000
        self.paths.delay(path, self.next_id, due)
        self.delayed[self.next_id] = (domain, due)
        self.next_id += 1

    @rule(step=st.floats(0, 60), limit=st.integers(1, 5))
    def release(self, step: float, limit: int) -> None:
        self.now += step
        due = {n for n, (_, at) in self.delayed.items() if at <= self.now}
        before = len(due)
        woken = self.paths.release(
            self.now, limit, lambda number, path, _: number not in self.gone and moved(number, path)
        )
        released = set()
        for path in woken:
            released |= {n for n in path.order if n in self.delayed}
        assert released <= due and (before == 0 or released or due <= self.gone or limit < before)
        for number in released:
            self.active[number] = self.delayed.pop(number)[0]
        for number in [n for n in due if n in self.gone]:
            self.delayed.pop(number, None)

    def fall_due(self, number: int, path: Path, _: int) -> bool:
        return number not in self.gone and moved(number, path)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        domain = data.draw(st.sampled_from(sorted(set(self.active.values()))))
        path = self.paths.get("b", domain)
        assert path is not None
        number = pop(path)
        assert number is not None and self.active.pop(number) == domain
        self.paths.leave(path)

    @invariant()
    def the_next_wake_is_the_next_due(self) -> None:
        due = [at for _, at in self.delayed.values()]
        wake = self.paths.next_due()
        assert (wake is None) == (not due)
        assert wake is None or wake <= min(due)


TestPathsAgainstModel = PathsAgainstModel.TestCase
TestPathsAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
