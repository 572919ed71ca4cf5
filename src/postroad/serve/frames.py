"""What supervisor and children say to each other over their link (link.py)."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import NamedTuple

import msgspec

from postroad.config import Generation
from postroad.serve.link import Frame

ENGINE, CONTROL, REHOME = "engine", "control", "rehome"


class Name(NamedTuple):
    """A process of the server: its kind, and which one of them."""

    kind: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind}-{self.number}" if self.kind == ENGINE else self.kind


class Start(Frame, frozen=True):
    """Supervisor -> child, the first frame: be this. generation: see `pack`. listeners: descriptors of the sockets of
    each [[listener]], in order; http, https: those of [http]. All are for engines only."""

    kind: str
    number: int
    engines: int
    generation: bytes
    listeners: tuple[tuple[int, ...], ...] = ()
    http: tuple[int, ...] = ()
    https: tuple[int, ...] = ()

    @property
    def name(self) -> Name:
        return Name(self.kind, self.number)


class Ready(Frame, frozen=True):
    """Child -> supervisor: I serve. smtp, http: the addresses, as HOST:PORT."""

    smtp: tuple[str, ...] = ()
    http: str | None = None


class Failed(Frame, frozen=True):
    """Child -> supervisor: I can't start, and end. text: for the user."""

    text: str


class Stop(Frame, frozen=True):
    """Supervisor -> child: finish what you have begun, and end with code 0."""


class Restart(Frame, frozen=True):
    """Control -> supervisor: stop this process, as with Stop, and start it again."""

    kind: str
    number: int


class Ping(Frame, frozen=True):
    """Supervisor -> child, now and then: are you still at work?"""


class Pong(Frame, frozen=True):
    """Child -> supervisor: I am. It comes from the loop that does the work, so one that is stuck does not send it."""


class Reload(Frame, frozen=True):
    """Supervisor -> control: somebody sent SIGHUP."""


class Use(Frame, frozen=True):
    """Control -> supervisor: start processes with this configuration from now on. generation: see `pack`."""

    generation: bytes


class Count(Frame, frozen=True):
    """Control -> warden: what is lent?"""


class Counted(Frame, frozen=True):
    """Warden -> control: the answer to one Count, in order. open: connections in each gate of all engines, from before
    one may be opened until it is gone, and the limit; 0: none. lent: messages that engines may send at any moment, by
    rate."""

    open: dict[str, tuple[int, int]]
    lent: dict[str, int]


class Peer(msgspec.Struct, frozen=True, array_like=True):
    """A process. pid: 0 while there is none. since: Unix seconds of its start. restarts: how often it was started
    again. up: it has said Ready, and is not stuck. next_try: Unix seconds, 0 while it runs. stuck: it runs, but does
    not answer."""

    kind: str
    number: int
    pid: int
    since: float
    restarts: int
    up: bool
    next_try: float = 0.0
    stuck: bool = False


class Peers(Frame, frozen=True):
    """Supervisor -> all children, at each change: all processes and how they are."""

    peers: list[Peer]


def pack(generation: Generation) -> bytes:
    """For Start and Use. Both ends are us, on one machine, over a socket nobody else has."""
    return pickle.dumps(replace(generation, origins=dict(generation.origins)))


def unpack(data: bytes) -> Generation:
    generation = pickle.loads(data)
    assert isinstance(generation, Generation)
    return generation
