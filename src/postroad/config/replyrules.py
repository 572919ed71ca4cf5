"""What [[reply]] rules must be: well formed, reachable, and true to their samples. Pure, but for compiling patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import re2
from msgspec import structs

from postroad.config.match import exact, pattern
from postroad.config.rules import Finding, Path
from postroad.config.schema import Config, ReplyOptions

STAGES = ("banner", "ehlo", "auth", "mail", "rcpt", "data", "content")
_CODES = re.compile(r"[45](?:[0-9]{2}|[0-9]x|xx)\Z")
_ENHANCED = re.compile(r"[45]\.\d{1,3}\.\d{1,3}\Z")
_SAMPLE = re.compile(r"[45]\d\d ")
_LONGEST = 1000
_LEADS_TO = {"temporary": "4", "permanent": "5"}


@lru_cache(maxsize=4096)
def expression(text: str) -> Any:
    """The compiled pattern of a rule; `search(text)` takes time in proportion to the text. Raises ValueError."""
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    options = re2.Options()
    options.max_mem = 1 << 20
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        words = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise ValueError(f"is no RE2 expression: {words}") from None


def code_fits(codes: Sequence[str], code: int) -> bool:
    """Is the code one of "550", "45x", "4xx"? None given: any is."""
    text = str(code)
    return not codes or any(text.startswith(each.rstrip("x")) for each in codes)


def reply_findings(config: Config) -> Iterator[Finding]:
    """All that is wrong with the rules, and which can never act."""
    bindings = {"default", *(each.name for each in config.binding)}
    groups = {"default", *(each.name for each in config.group)}
    providers = {each.name for each in config.provider}
    seen: dict[str, int] = {}
    sound: list[tuple[int, ReplyOptions]] = []
    for at, rule in enumerate(config.reply):
        path = ("reply", at)
        if rule.name in seen:
            yield Finding((*path, "name"), f"{rule.name} is the name of reply[{seen[rule.name]}] already")
        seen.setdefault(rule.name, at)
        for option, name, known in (
            ("binding", rule.binding, bindings),
            ("group", rule.group, groups),
            ("provider", rule.provider, providers),
        ):
            if name and name not in known:
                yield Finding((*path, option), f"there is no {option} {name}")
        found = [*_form(rule, path), *_action(rule, path)]
        yield from found
        if any(each.fatal for each in found):
            continue
        above = next((earlier for _, earlier in sound if _covers(earlier, rule)), None)
        if above is not None:
            yield Finding(
                path, f"{rule.name} never acts: {above.name}, which comes before, takes all its replies", False
            )
        yield from _samples(rule, path, [earlier for _, earlier in sound])
        sound.append((at, rule))


def _form(rule: ReplyOptions, path: Path) -> Iterator[Finding]:
    if rule.domain:
        try:
            if exact(rule.domain) is None:
                pattern(rule.domain)
        except ValueError as error:
            yield Finding((*path, "domain"), str(error))
    for at, stage in enumerate(rule.stages):
        if stage not in STAGES:
            yield Finding((*path, "stages", at), f"must be one of {', '.join(STAGES)}")
    for at, code in enumerate(rule.codes):
        if not _CODES.match(code):
            yield Finding((*path, "codes", at), 'must be a code such as "550", "45x" or "4xx"')
    if rule.pattern:
        try:
            if expression(rule.pattern).search("") is not None:
                yield Finding((*path, "pattern"), "fits the empty text, and so every reply", fatal=False)
        except ValueError as error:
            yield Finding((*path, "pattern"), str(error))


def _action(rule: ReplyOptions, path: Path) -> Iterator[Finding]:
    first = _LEADS_TO.get(rule.action, "")
    firsts = {first} if first else {code[0] for code in rule.codes} or {"4", "5"}
    if rule.enhanced and not _ENHANCED.match(rule.enhanced):
        yield Finding((*path, "enhanced"), 'must be an enhanced code such as "4.2.1"')
    elif rule.enhanced and firsts != {rule.enhanced[0]}:
        text = (
            f"must begin with {first}, as action says" if first else "does not fit all its codes; say action, or codes"
        )
        yield Finding((*path, "enhanced"), text)
    if rule.wait is not None and "5" in firsts:
        yield Finding((*path, "wait"), "is for refusals that are temporary; say action, or codes")
    if rule.action and not rule.enhanced and rule.codes and {code[0] for code in rule.codes} == {first}:
        yield Finding((*path, "action"), f"changes nothing: its codes are all {rule.action}", fatal=False)


def _covers(wide: ReplyOptions, narrow: ReplyOptions) -> bool:
    """Does every reply that fits `narrow` surely fit `wide`?"""
    if any(getattr(wide, name) not in ("", getattr(narrow, name)) for name in ("binding", "group", "provider")):
        return False
    if wide.domain and not _domain_covers(wide.domain, narrow.domain):
        return False
    if wide.stages and not (narrow.stages and set(narrow.stages) <= set(wide.stages)):
        return False
    if wide.codes and not (
        narrow.codes and all(any(n.startswith(w.rstrip("x")) for w in wide.codes) for n in narrow.codes)
    ):
        return False
    return wide.pattern in ("", narrow.pattern)


def _domain_covers(wide: str, narrow: str) -> bool:
    if wide == narrow:
        return True
    name = exact(narrow) if narrow else None
    if name is None:
        return False
    named = exact(wide)
    return named == name if named is not None else pattern(wide).fullmatch(name) is not None


def _samples(rule: ReplyOptions, path: Path, earlier: Sequence[ReplyOptions]) -> Iterator[Finding]:
    """Each sample must fit, and no rule before this one may take it from the same mail."""
    for at, sample in enumerate(rule.samples):
        place = (*path, "samples", at)
        if not _SAMPLE.match(sample):
            yield Finding(place, 'must be a reply such as "450 4.2.0 come back later"')
        elif not fits(rule, sample):
            yield Finding(place, f"does not fit {rule.name}")
        else:
            bare = _without_text(rule)
            taker = next((each for each in earlier if fits(each, sample) and _covers(_without_text(each), bare)), None)
            if taker is not None:
                yield Finding(place, f"is taken by {taker.name}, which comes before")


def _without_text(rule: ReplyOptions) -> ReplyOptions:
    return structs.replace(rule, codes=[], pattern="")


def fits(rule: ReplyOptions, reply: str) -> bool:
    """Does the reply's code and text fit? reply: "450 4.2.0 text"."""
    if not code_fits(rule.codes, int(reply[:3])):
        return False
    return not rule.pattern or expression(rule.pattern).search(reply) is not None
