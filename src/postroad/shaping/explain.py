"""What counts for one path, which scope says so in which line, and what it overrides."""

from __future__ import annotations

from typing import NamedTuple

from postroad.config import Explained, Generation, Origin, UnknownOption
from postroad.config.explain import explain
from postroad.config.options import Option, options, value_text
from postroad.config.schema import DeliveryOptions, QueueOptions
from postroad.shaping.scopes import THROTTLES, Scopes, Setting


class Overridden(NamedTuple):
    """What a wider scope says. origin: None for a default."""

    scope: str
    text: str
    origin: Origin | None


class Counting(NamedTuple):
    """option: its value and where that stands. scope: who says so. shared: it is one bucket for all mail of the scope.
    overrides: the nearest first."""

    option: Explained
    scope: str
    shared: bool
    overrides: list[Overridden]


def explain_path(
    generation: Generation, name: str, *, binding: str = "", group: str = "", domain: str = "", provider: str = ""
) -> list[Counting]:
    """The options that `name` means ("" for all that can differ by path; the section may be left out). binding, group,
    domain, provider: what is known of the path. Raises UnknownOption, also for a binding, group or provider that the
    configuration has not."""
    scopes = Scopes(generation.config)
    config = generation.config
    for kind, given, known in (
        ("binding", binding, scopes.bindings),
        ("group", group, ["default", *(each.name for each in config.group)]),
        ("provider", provider, [each.name for each in config.provider]),
    ):
        if given and given not in known:
            raise UnknownOption(f"there is no {kind} {given}")
    if binding and group and scopes.group_of(binding) != group:
        raise UnknownOption(f"binding {binding} is not in group {group}, but in {scopes.group_of(binding)}")
    provider = provider or scopes.provider_of(domain)
    chain = scopes.chain(binding, domain, provider, group=group or None)
    named = _named(generation, name)
    return [_counting(generation, section, option, scopes.trace(option.name, chain)) for section, option in named]


def _named(generation: Generation, name: str) -> list[tuple[str, Option]]:
    sections: dict[str, type[DeliveryOptions] | type[QueueOptions]] = {
        "delivery": DeliveryOptions,
        "queue": QueueOptions,
    }
    head, _, tail = name.rpartition(".")
    found = [
        (section, option)
        for section, cls in sections.items()
        for option in options(cls).values()
        if name in ("", section) or (option.name == tail and head in ("", section))
    ]
    if not found:
        explain(generation, name)  # says what is wrong with the name
        raise UnknownOption(f"{name} is the same for all paths: leave out --binding, --group, --domain and --provider")
    return found


def _counting(generation: Generation, section: str, option: Option, settings: list[Setting]) -> Counting:
    def origin(setting: Setting) -> Origin | None:
        return generation.origins.get(f"{setting.scope.place}.{option.name}")

    first, *others = settings
    text = value_text(option, first.value)
    name = f"{section}.{option.name}"
    explained = Explained(name, first.value, text, option.unit, option.description, origin(first), option)
    overrides = [Overridden(each.scope.label, value_text(option, each.value), origin(each)) for each in others]
    shared = option.name in THROTTLES and bool(first.value)
    return Counting(explained, first.scope.label, shared, overrides)
