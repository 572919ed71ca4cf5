"""Which value of an option counts for a path: the scopes of the configuration, from the narrowest to the widest.

    group, binding and domain > binding and domain > group and domain > binding > group
    > domain (by name, then by pattern) > provider > the sections [delivery] and [queue]

A plain option goes by value. A throttle goes by reference: the scope that sets it owns one bucket, for all the mail of
which no narrower scope sets that throttle (momentum.md 4.1). Pure; one `Scopes` belongs to one configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import structs

from postroad.config.match import exact, pattern
from postroad.config.schema import (
    BindingOptions,
    Config,
    DeliveryOptions,
    DomainOptions,
    GroupOptions,
    InnerDomain,
    ProviderOptions,
    QueueOptions,
    Rate,
    Section,
)
from postroad.shaping.binding import Binding

DEFAULT = "default"
THROTTLES = ("message_rate", "connection_rate")
_IDENTITY = ("source_address", "source_address6")
_DELIVERY = frozenset(DeliveryOptions.__struct_fields__)
_QUEUE = frozenset(QueueOptions.__struct_fields__)
_CACHED = 50_000  # paths whose options are remembered; senders meet millions of domains


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """One table of the file. label: for people. key: the same for the same scope in each generation of the file, even
    when tables before it come and go. place: its dotted name in Generation.origins. values: what it sets."""

    label: str
    key: str
    place: str
    values: dict[str, object]


Chain = tuple[Scope, ...]


class Bucket(NamedTuple):
    """A throttle of a path. key: paths with the same key share it."""

    key: str
    rate: Rate


class PathOptions(NamedTuple):
    """What counts for a path. binding: its addresses and EHLO name. message, connection: its shared throttles."""

    binding: Binding
    delivery: DeliveryOptions
    queue: QueueOptions
    message: tuple[Bucket, ...]
    connection: tuple[Bucket, ...]


class Setting(NamedTuple):
    """What one scope says of an option."""

    value: object
    scope: Scope


class Scopes:
    def __init__(self, config: Config) -> None:
        self.config = config
        self._domains = _Domains("domain", "", config.domain, "domain")
        self._bindings = {
            each.name: _Table(each, f'binding "{each.name}"', f"binding:{each.name}", f"binding[{at}]", each.domain)
            for at, each in enumerate(config.binding)
        }
        self._groups = {
            each.name: _Table(each, f'group "{each.name}"', f"group:{each.name}", f"group[{at}]", each.domain)
            for at, each in enumerate(config.group)
        }
        self._members: dict[str, tuple[str, _Domains]] = {}
        for at, group in enumerate(config.group):
            for index, member in enumerate(group.members):
                label = f'group "{group.name}", binding "{member.binding}"'
                key = f"group:{group.name}/binding:{member.binding}"
                inner = _Domains(label, key, member.domain, f"group[{at}].members[{index}].domain")
                self._members[member.binding] = (group.name, inner)
        self._providers = [_Provider(each, at) for at, each in enumerate(config.provider)]
        self._global = (
            Scope("[delivery]", "delivery", "delivery", structs.asdict(config.delivery)),
            Scope("[queue]", "queue", "queue", structs.asdict(config.queue)),
        )
        self._options: dict[tuple[str, str, str], PathOptions] = {}
        self._resolved: dict[tuple[str, Chain], PathOptions] = {}

    # --- who belongs where --------------------------------------------------------------------------------------------

    @property
    def bindings(self) -> list[str]:
        """All bindings, `default` among them."""
        return list({DEFAULT: None, **dict.fromkeys(self._bindings)})

    def group_of(self, binding: str) -> str:
        """The group of a binding; `default` when it is in none."""
        found = self._members.get(binding)
        return found[0] if found else DEFAULT

    def provider_of(self, domain: str, hosts: Sequence[str] = ()) -> str:
        """The first provider that names the domain, or all of its MX hosts; "" when there is none."""
        for provider in self._providers:
            if provider.takes(domain, hosts):
                return provider.name
        return ""

    def rolled_up(self, provider: str) -> bool:
        return any(each.name == provider and each.rollup for each in self._providers)

    # --- what counts --------------------------------------------------------------------------------------------------

    def chain(self, binding: str, domain: str, provider: str = "", *, group: str | None = None) -> Chain:
        """The scopes that apply, the narrowest first. group: only for what is asked without a binding."""
        if group is None:
            group = self.group_of(binding)
        found: list[Scope] = []
        owner, member = self._members.get(binding, (DEFAULT, None))
        if member is not None and owner == group:
            found += member.find(domain)
        tables = [table for table in (self._bindings.get(binding), self._groups.get(group)) if table]
        for table in tables:
            found += table.domains.find(domain)
        found += [table.scope for table in tables]
        found += self._domains.find(domain)
        found += [each.scope for each in self._providers if each.name == provider]
        # A scope that sets nothing would only make chains differ that mean the same.
        return (*(scope for scope in found if scope.values), *self._global)

    def trace(self, name: str, chain: Chain) -> list[Setting]:
        """What the scopes say of an option; the first one counts, the others are overridden."""
        return [Setting(scope.values[name], scope) for scope in chain if name in scope.values]

    def options(self, binding: str, domain: str, provider: str = "") -> PathOptions:
        key = (binding, domain, provider)
        found = self._options.get(key)
        if found is None:
            if len(self._options) >= _CACHED:
                self._options.clear()
            chain = self.chain(*key)
            found = self._resolved.get((binding, chain))
            if found is None:
                found = self._resolved[binding, chain] = self._resolve(binding, chain)
            self._options[key] = found
        return found

    def _resolve(self, binding: str, chain: Chain) -> PathOptions:
        own: dict[str, object] = {}
        for scope in reversed(chain[: -len(self._global)]):
            own.update(scope.values)
        delivery = structs.replace(self.config.delivery, **{k: v for k, v in own.items() if k in _DELIVERY})
        queue = structs.replace(self.config.queue, **{k: v for k, v in own.items() if k in _QUEUE})
        message, connection = (self._buckets(name, chain) for name in THROTTLES)
        identity = Binding(binding, delivery.source_address, delivery.source_address6, delivery.ehlo_hostname)
        return PathOptions(identity, delivery, queue, message, connection)

    def _buckets(self, name: str, chain: Chain) -> tuple[Bucket, ...]:
        value, scope = self.trace(name, chain)[0]
        return (Bucket(f"{scope.key}/{name}", value),) if isinstance(value, Rate) and value else ()


class _Table:
    """A binding or a group, with its domains."""

    def __init__(
        self,
        section: BindingOptions | GroupOptions,
        label: str,
        key: str,
        place: str,
        domains: Sequence[InnerDomain],
    ) -> None:
        self.section = section
        self.scope = Scope(label, key, place, _set(section))
        self.domains = _Domains(label, key, domains, f"{place}.domain")


class _Domains:
    """A list of [[...domain]] tables: the one that names a domain, and after it the first pattern that matches."""

    def __init__(self, label: str, key: str, domains: Sequence[InnerDomain | DomainOptions], place: str) -> None:
        self._exact: dict[str, Scope] = {}
        self._patterns: list[tuple[re.Pattern[str], Scope]] = []
        within = f"{label}, " if key else ""
        prefix = f"{key}/" if key else ""
        for at, each in enumerate(domains):
            name = exact(each.match)
            shown = name if name is not None else each.match
            scope = Scope(f'{within}domain "{shown}"', f"{prefix}domain:{shown}", f"{place}[{at}]", _set(each))
            if name is not None:
                self._exact[name] = scope
            else:
                self._patterns.append((pattern(each.match), scope))

    def find(self, domain: str) -> list[Scope]:
        """The one that names it, and the first pattern that matches."""
        named = self._exact.get(domain)
        found = [] if named is None else [named]
        for expression, scope in self._patterns:
            if expression.fullmatch(domain):
                found.append(scope)
                break
        return found


class _Provider:
    def __init__(self, section: ProviderOptions, at: int) -> None:
        self.name = section.name
        self.rollup = section.rollup
        self.scope = Scope(f'provider "{section.name}"', f"provider:{section.name}", f"provider[{at}]", _set(section))
        suffixes = [suffix.strip(".").lower() for suffix in section.mx_suffixes]
        self._hosts = frozenset(suffixes)
        self._below = tuple(f".{suffix}" for suffix in suffixes)
        self._names = frozenset(name for text in section.domains if (name := exact(text)) is not None)
        self._patterns = [pattern(text) for text in section.domains if exact(text) is None]

    def takes(self, domain: str, hosts: Sequence[str]) -> bool:
        if domain in self._names or any(expression.fullmatch(domain) for expression in self._patterns):
            return True
        return bool(hosts) and bool(self._hosts) and all(map(self._has, hosts))

    def _has(self, host: str) -> bool:
        name = host.rstrip(".").lower()
        return name in self._hosts or name.endswith(self._below)


# What a scope holds that is no option of a path.
_NAMES: dict[type[Section], Iterable[str]] = {
    InnerDomain: ("match",),
    DomainOptions: ("match",),
    BindingOptions: ("name", "domain"),
    GroupOptions: ("name", "domain", "members", "sticky"),
    ProviderOptions: ("name", "mx_suffixes", "domains", "rollup"),
}


def _set(section: Section) -> dict[str, object]:
    left_out = (*_NAMES[type(section)],)
    if isinstance(section, BindingOptions) and not section.source_address and not section.source_address6:
        # With one of its own it takes none of everybody's: the two would be two identities.
        left_out += _IDENTITY
    return {k: v for k, v in structs.asdict(section).items() if v is not None and k not in left_out}
