"""Which binding sends a message: chosen once, when it is taken (momentum.md 2).

What decides, in this order: the binding that its context names; else a fit member of the group its context names, by
weight or as the group's `sticky` says; else `default` (or a fit member of a group of that name), as
delivery.default_binding says. A member is fit when neither it nor its way to the recipient's domain is suspended; when
none is fit, one is chosen all the same, and the message waits for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import accumulate
from math import log
from random import Random

from xxhash import xxh3_64_intdigest

from postroad.config.schema import Config, GroupOptions
from postroad.message import Accepted, Acceptor, Context, Message, Refused, Rejection, Reply, Transaction

DEFAULT = "default"
# Names in a message's context. Whoever sees it before the queue does may set them.
BINDING = "binding"
GROUP = "binding_group"

_REMEMBERED = 20_000  # domains whose order of members a sticky group remembers


class BindingChoice:
    """choose(message): the name of its binding; "" when there is none and the message is to be refused for now.

    suspended(binding, domain): is mail from the one to the other held now?
    """

    def __init__(self, config: Config, suspended: Callable[[str, str], bool], rng: Random) -> None:
        self._suspended = suspended
        # A generator of its own: the system's would cost a call into the kernel for each message.
        self._rng = Random(rng.getrandbits(64))
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Choose by this from now on. Messages that have a binding keep it."""
        self._names = frozenset((DEFAULT, *(binding.name for binding in config.binding)))
        self._groups = {group.name: _Group(group) for group in config.group}
        self._refuse = config.delivery.default_binding == "none"

    def is_group(self, name: str) -> bool:
        return name in self._groups

    def choose(self, message: Message) -> str:
        context = message.context
        name = DEFAULT
        if context:
            binding = context.get(BINDING)
            if binding in self._names:
                return binding
            name = context.get(GROUP, DEFAULT)
        group = self._groups.get(name) or self._groups.get(DEFAULT)
        if group is not None:
            return self._pick(group, message)
        # What we write ourselves (notifications) must find a way out.
        return "" if self._refuse and message.method != "internal" else DEFAULT

    def _pick(self, group: _Group, message: Message) -> str:
        domain = message.domain
        if group.sticky:
            key = domain if group.sticky == "recipient_domain" else message.sender.rpartition("@")[2].lower()
            order = group.order(key)
            for name in order:
                if not self._suspended(name, domain):
                    return name
            return order[0]
        name = _weighted(group.names, group.limits, self._rng)
        if not self._suspended(name, domain):
            return name
        fit = [(other, weight) for other, weight in group.members if not self._suspended(other, domain)]
        if not fit:
            return name
        names, weights = zip(*fit, strict=True)
        return _weighted(names, list(accumulate(weights)), self._rng)


class _Group:
    """members: (binding, weight), those that get mail."""

    def __init__(self, options: GroupOptions) -> None:
        self.members = [(member.binding, member.weight) for member in options.members if member.weight]
        self.names = tuple(name for name, _ in self.members)
        self.limits = list(accumulate(weight for _, weight in self.members))
        self.sticky = "" if options.sticky == "none" else options.sticky
        self._orders: dict[str, tuple[str, ...]] = {}

    def order(self, key: str) -> tuple[str, ...]:
        """The members in the order in which `key` prefers them. When one goes, only its own keys move, and they spread
        over the others by weight (weighted rendezvous hashing)."""
        found = self._orders.get(key)
        if found is None:
            if len(self._orders) >= _REMEMBERED:
                self._orders.clear()
            ranked = sorted((_distance(key, name) / weight, name) for name, weight in self.members)
            found = self._orders[key] = tuple(name for _, name in ranked)
        return found


def _distance(key: str, name: str) -> float:
    """Exponentially distributed: divided by the weights, the least is a member's with the chance of its weight."""
    return -log((xxh3_64_intdigest(f"{key}\n{name}".encode(errors="replace")) + 1) / (1 << 64))


def _weighted(names: Iterable[str], limits: list[int], rng: Random) -> str:
    return tuple(names)[bisect_right(limits, rng.random() * limits[-1])]


class Marked:
    """An Acceptor that puts `context` into every transaction on its way to another: how a listener's group becomes the
    group of its mail. What the transaction says itself stays."""

    def __init__(self, acceptor: Acceptor, context: Context) -> None:
        self._acceptor = acceptor
        self._context = context

    def refusal(self) -> Reply | None:
        return self._acceptor.refusal()

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        transaction.context = {**self._context, **transaction.context}
        self._acceptor.accept(transaction, done)

    def rejected(self, rejection: Rejection) -> None:
        self._acceptor.rejected(rejection)


def marked(acceptor: Acceptor, *, binding: str = "", group: str = "") -> Acceptor:
    """The acceptor for a listener with these options."""
    context = {name: value for name, value in ((BINDING, binding), (GROUP, group)) if value}
    return Marked(acceptor, context) if context else acceptor
