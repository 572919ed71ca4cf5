"""In which order the active messages of one path go out. Pure, and the same work for each message however many wait.

Three choices, one inside the other (peers.md 6.2, momentum.md 3.1):

1. urgent messages go ahead of all others, as in Momentum; but once the next one of the others is PATIENCE seconds old,
   one in URGENT_AHEAD + 1 turns is for the others, until none of them waits;
2. first attempts go ahead of retries, FRESH_PER_RETRY of them for each retry;
3. flows take turns: deficit round robin whose unit is the message, since what a receiver limits is messages and not
   octets. With equal quanta of one message no deficit is ever left over, so none is kept.

Hence the bound: with F flows in its lane, the k-th message of its flow is within the next F x k of its lane, a retry
within FRESH_PER_RETRY + 1 times as many of its band, and one that is not urgent, after PATIENCE seconds at most, within
URGENT_AHEAD + 1 times as many of the path, whatever comes in meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from postroad.message import PRIORITY, Context, id_time

# How many first attempts go ahead for each retry while both wait: retries must not starve first attempts, nor the
# other way round (peers.md 6.2, two-lane retry).
FRESH_PER_RETRY = 4
URGENT_AHEAD = 4
PATIENCE = 120.0


def flow_number(context: Context, subaccount: object, campaign: object) -> int:
    """Which flow a message belongs to: the lowest bit says that it is urgent, the rest stands for (subaccount,
    campaign) and is 0 where there is neither.

    Python's keyed hash, not a table of names: a table would have to forget senders that name each message's campaign
    differently. Should two flows ever share a number (1 in 2**31, and nobody outside can bring it about), they share
    their turns. The number means nothing to another process.
    """
    named = hash((str(subaccount or ""), str(campaign or ""))) & 0x7FFFFFFF if subaccount or campaign else 0
    return named << 1 | (context.get(PRIORITY) == "1")


class Lane:
    """Flows that take turns. The first one of `_flows` is next; an empty flow is no more."""

    __slots__ = ("_flows",)

    def __init__(self) -> None:
        self._flows: OrderedDict[int, deque[int]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._flows)

    def __len__(self) -> int:
        return sum(map(len, self._flows.values()))

    def __iter__(self) -> Iterator[int]:
        """All of them, in no order."""
        for flow in self._flows.values():
            yield from flow

    def positions(self) -> Iterator[tuple[int, int]]:
        """All of them with their flow, flow by flow."""
        for flow, line in self._flows.items():
            for number in line:
                yield number, flow

    def append(self, number: int, flow: int) -> None:
        line = self._flows.get(flow)
        if line is None:
            self._flows[flow] = deque((number,))
        else:
            line.append(number)

    def put_back(self, number: int, flow: int) -> None:
        """It is the next one."""
        line = self._flows.get(flow)
        if line is None:
            self._flows[flow] = deque((number,))
        else:
            line.appendleft(number)
        self._flows.move_to_end(flow, last=False)

    def head(self) -> int:
        return self._flows[next(iter(self._flows))][0]

    def pop(self) -> int:
        flows = self._flows
        flow = next(iter(flows))
        line = flows[flow]
        number = line.popleft()
        if not line:
            del flows[flow]
        elif len(flows) > 1:
            flows.move_to_end(flow)
        return number

    def ahead(self, number: int) -> int | None:
        """How many go out of this lane before it; None: it is not here."""
        for place, line in enumerate(self._flows.values()):
            if number in line:
                at = line.index(number)
                # Each flow has had `at` turns by then, and those before it one more.
                return sum(min(len(other), at + (i < place)) for i, other in enumerate(self._flows.values()))
        return None

    def copy(self) -> Lane:
        copied = Lane()
        copied._flows = OrderedDict((flow, line.copy()) for flow, line in self._flows.items())
        return copied


class Band:
    """First attempts and retries of one urgency. turn: first attempts since the last retry, FRESH_PER_RETRY at most."""

    __slots__ = ("fresh", "retries", "turn")

    def __init__(self) -> None:
        self.fresh = Lane()
        self.retries = Lane()
        self.turn = 0

    def __bool__(self) -> bool:
        return bool(self.fresh or self.retries)

    def __len__(self) -> int:
        return len(self.fresh) + len(self.retries)

    def _next(self) -> Lane:
        return self.fresh if self.fresh and (self.turn < FRESH_PER_RETRY or not self.retries) else self.retries

    def head(self) -> int:
        return self._next().head()

    def pop(self) -> int:
        lane = self._next()
        self.turn = min(self.turn + 1, FRESH_PER_RETRY) if lane is self.fresh else 0
        return lane.pop()

    def ahead(self, number: int) -> int | None:
        ahead = self.fresh.ahead(number)
        if ahead is not None:
            return ahead + _favoured(ahead, self.turn, FRESH_PER_RETRY, len(self.retries))
        ahead = self.retries.ahead(number)
        return None if ahead is None else ahead + _others(ahead, self.turn, FRESH_PER_RETRY, len(self.fresh))

    def copy(self) -> Band:
        copied = Band()
        copied.fresh, copied.retries, copied.turn = self.fresh.copy(), self.retries.copy(), self.turn
        return copied


def _favoured(ahead: int, turn: int, share: int, others: int) -> int:
    """Of `others`, how many go before the favoured one that has `ahead` before it."""
    return min(others, (turn + ahead) // share)


def _others(ahead: int, turn: int, share: int, favoured: int) -> int:
    """Of the `favoured`, how many go before the other one that has `ahead` before it."""
    return min(favoured, (ahead + 1) * share - turn)


class Order:
    """An active queue. Ids, and how many there are (count); ghosts: positions beyond the messages that stand there.
    now: Unix seconds, asked for only when it matters."""

    __slots__ = ("_plain", "_shared", "_turn", "_urgent", "count", "ghosts")

    def __init__(self) -> None:
        self._plain = Band()
        self._urgent: Band | None = None  # most paths never see one
        self._shared = False  # the plain ones have waited long enough to get a share of the turns
        self._turn = 0  # urgent ones since the last plain one, URGENT_AHEAD at most
        self.count = 0
        self.ghosts = 0

    def __len__(self) -> int:
        return self.count

    @property
    def standing(self) -> int:
        """Messages, without the ghosts."""
        return self.count - self.ghosts

    def __iter__(self) -> Iterator[int]:
        """A snapshot in no order."""
        return iter([number for lane, _ in self._lanes() for number in lane])

    def _lanes(self) -> list[tuple[Lane, bool]]:
        """All lanes, and whether they are for retries."""
        lanes = [(self._plain.fresh, False), (self._plain.retries, True)]
        if self._urgent is not None:
            lanes += [(self._urgent.fresh, False), (self._urgent.retries, True)]
        return lanes

    def clear(self) -> None:
        self._plain, self._urgent, self._shared, self._turn, self.count = Band(), None, False, 0, 0
        self.ghosts = 0

    def pour(self, into: Callable[[int], Order | None]) -> None:
        """Put each position at the end of the order that `into` names for it, those of one flow as they stood; what it
        names None for stays here. Whoever calls it sets the ghosts right."""
        lanes = self._lanes()
        self.clear()
        for lane, retry in lanes:
            for number, flow in lane.positions():
                order = into(number)
                (self if order is None else order).append(number, flow, retry=retry)

    def append(self, number: int, flow: int, *, retry: bool) -> None:
        self.count += 1
        band = self._band(flow)
        (band.retries if retry else band.fresh).append(number, flow)

    def put_back(self, number: int, flow: int, *, retry: bool) -> None:
        """It was given out for nothing, and is the next one of its lane again."""
        self.count += 1
        band = self._band(flow)
        (band.retries if retry else band.fresh).put_back(number, flow)

    def pop(self, now: Callable[[], float]) -> int | None:
        """The id whose turn it is."""
        if not self.count:
            return None
        self.count -= 1
        plain, urgent = self._plain, self._urgent
        if urgent is None or (plain and self._turn >= URGENT_AHEAD and self._shares(now)):
            self._turn = 0
            number = plain.pop()
            if self._shared and not plain:
                self._shared = False
            return number
        self._turn = min(self._turn + 1, URGENT_AHEAD)
        number = urgent.pop()
        if not urgent:
            self._urgent = None
        return number

    def in_order(self, now: float) -> Iterator[int]:
        """A snapshot in the order in which they would go out if nothing came in, and time stood still."""
        copied = Order()
        copied.count, copied._turn, copied._shared = self.count, self._turn, self._shared
        copied._plain = self._plain.copy()
        copied._urgent = self._urgent and self._urgent.copy()
        while (number := copied.pop(lambda: now)) is not None:
            yield number

    def ahead(self, number: int, now: float) -> int | None:
        """How many go out before it, as things stand: what comes in meanwhile may overtake it. None: it is not here."""
        urgent = self._urgent or Band()
        ahead = self._plain.ahead(number)
        shared = self._shared or (bool(self._plain) and self._late(now))
        if ahead is not None:
            return ahead + (_others(ahead, self._turn, URGENT_AHEAD, len(urgent)) if shared else len(urgent))
        ahead = urgent.ahead(number)
        if ahead is None or not shared:
            return ahead
        return ahead + _favoured(ahead, self._turn, URGENT_AHEAD, len(self._plain))

    def _shares(self, now: Callable[[], float]) -> bool:
        if not self._shared:
            self._shared = self._late(now())
        return self._shared

    def _late(self, now: float) -> bool:
        return id_time(self._plain.head()) + PATIENCE <= now

    def _band(self, flow: int) -> Band:
        if not flow & 1:
            return self._plain
        if self._urgent is None:
            self._urgent = Band()
        return self._urgent
