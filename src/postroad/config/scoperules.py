"""What must fit between bindings, groups, domains and providers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from postroad.config.match import exact, pattern
from postroad.config.rules import Finding, Path, values
from postroad.config.schema import Config, DomainOptions, GroupOptions, InnerDomain, ScopeOptions

DEFAULT = "default"  # the binding, and the group, that are there without being written


def scope_findings(config: Config) -> Iterator[Finding]:
    for kind, names in (
        ("binding", [each.name for each in config.binding]),
        ("group", [each.name for each in config.group]),
        ("provider", [each.name for each in config.provider]),
    ):
        yield from _repeated(names, (kind,), "name")
    for path, scope in _scopes(config):
        yield from values(scope, path)
        if scope.use_ipv6 and not config.delivery.use_ipv6:
            text = "finds no addresses: delivery.use_ipv6 is false, so that none are looked up"
            yield Finding((*path, "use_ipv6"), text, fatal=False)
    for at, binding in enumerate(config.binding):
        yield from _domains(binding.domain, ("binding", at, "domain"))
    yield from _groups(config)
    yield from _domains(config.domain, ("domain",))
    for at, provider in enumerate(config.provider):
        if not provider.mx_suffixes and not provider.domains:
            yield Finding(("provider", at), "has neither mx_suffixes nor domains: nothing belongs to it", False)
        for index, suffix in enumerate(provider.mx_suffixes):
            try:
                if exact(suffix.strip(".")) is None:
                    raise ValueError("is a host name or the end of some, without patterns")
            except ValueError as error:
                yield Finding(("provider", at, "mx_suffixes", index), str(error))
        yield from _matches(provider.domains, ("provider", at, "domains"))
    yield from _choice(config)


def _scopes(config: Config) -> Iterator[tuple[Path, ScopeOptions]]:
    """Every table that may hold options of a path."""
    tables: list[tuple[Path, Sequence[ScopeOptions]]] = [
        (("binding",), config.binding),
        (("group",), config.group),
        (("domain",), config.domain),
        (("provider",), config.provider),
        *((("binding", at, "domain"), binding.domain) for at, binding in enumerate(config.binding)),
        *((("group", at, "domain"), group.domain) for at, group in enumerate(config.group)),
        *(
            (("group", at, "members", index, "domain"), member.domain)
            for at, group in enumerate(config.group)
            for index, member in enumerate(group.members)
        ),
    ]
    for path, scopes in tables:
        for at, scope in enumerate(scopes):
            yield (*path, at), scope


def _repeated(names: Sequence[str], path: Path, option: str) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for at, name in enumerate(names):
        if name in seen:
            yield Finding((*path, at, option), f"{name} is the {option} of {path[-1]}[{seen[name]}] already")
        seen.setdefault(name, at)


def _matches(texts: Iterable[str], path: Path, end: str = "") -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for at, text in enumerate(texts):
        place: Path = (*path, at, end) if end else (*path, at)
        try:
            name = exact(text)
            if name is None:
                pattern(text)
        except ValueError as error:
            yield Finding(place, str(error))
            continue
        key = name or text
        if key in seen:
            yield Finding(place, f"{text} stands in {path[-1]}[{seen[key]}] already")
        seen.setdefault(key, at)


def _domains(domains: Sequence[InnerDomain | DomainOptions], path: Path) -> Iterator[Finding]:
    yield from _matches((domain.match for domain in domains), path, "match")


def _groups(config: Config) -> Iterator[Finding]:
    bindings = {DEFAULT, *(binding.name for binding in config.binding)}
    owners: dict[str, str] = {}
    for at, group in enumerate(config.group):
        yield from _domains(group.domain, ("group", at, "domain"))
        yield from _members(group, ("group", at, "members"), bindings, owners)
        if not any(member.weight for member in group.members):
            yield Finding(("group", at), "has no member with a weight: mail for it can't be given a binding")


def _members(group: GroupOptions, path: Path, bindings: set[str], owners: dict[str, str]) -> Iterator[Finding]:
    for index, member in enumerate(group.members):
        name = member.binding
        if name not in bindings:
            yield Finding((*path, index, "binding"), f"there is no binding {name}")
        elif name in owners:
            # A queue is a (binding, domain): what the group says of it must be one thing.
            yield Finding((*path, index, "binding"), f"{name} is in group {owners[name]} already")
        owners.setdefault(name, group.name)
        yield from _domains(member.domain, (*path, index, "domain"))


def _choice(config: Config) -> Iterator[Finding]:
    """Everything that names a binding or a group names one that is there, and everything there is named."""
    bindings = {binding.name for binding in config.binding}
    groups = {group.name for group in config.group}
    used = {DEFAULT, *(member.binding for group in config.group for member in group.members)}
    for at, listener in enumerate(config.listener):
        if listener.binding and listener.group:
            yield Finding(("listener", at, "binding"), "stands beside group; one of them must go")
        if listener.binding and listener.binding not in bindings | {DEFAULT}:
            yield Finding(("listener", at, "binding"), f"there is no binding {listener.binding}")
        if listener.group and listener.group not in groups | {DEFAULT}:
            yield Finding(("listener", at, "group"), f"there is no group {listener.group}")
        used.add(listener.binding)
    for at, binding in enumerate(config.binding):
        if binding.name not in used:
            yield Finding(
                ("binding", at, "name"), f"no group or listener names {binding.name}: it gets no mail", fatal=False
            )
