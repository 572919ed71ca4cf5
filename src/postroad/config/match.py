"""How a scope names domains: exactly, by a pattern as in a shell ("*.example.com"), or by a /regular expression/."""

from __future__ import annotations

import re

_DOMAIN = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_\-]{1,63}\.)*[a-z0-9_\-]{1,63}\Z")
_GLOB = re.compile(r"[a-z0-9_.\-*?]{1,253}\Z")
_LONGEST = 200
_MOST_REPEATS = 2
_GROUP_REPEATED = re.compile(r"(?<!\\)\)[*+{]")
_REPEAT = re.compile(r"(?<!\\)[*+{]")


def exact(text: str) -> str | None:
    """The domain that `text` names, or None when it is a pattern. Raises ValueError when it is neither."""
    name = text.lower().rstrip(".")
    if text.startswith("/") or "*" in text or "?" in text:
        return None
    if name.startswith("[") and name.endswith("]"):
        return name  # an address literal
    if not name.isascii():
        raise ValueError("must be in A-labels (xn--...)")
    if not _DOMAIN.match(name):
        raise ValueError('must be a domain, a pattern such as "*.example.com", or a /regular expression/')
    return name


def pattern(text: str) -> re.Pattern[str]:
    """Matches whole domains, in lower case. Raises ValueError when it is wrong, or might take for ever.

    Domains come from strangers, and `re` tries all ways in which repetitions can share a text. With two of them that
    are not nested, this is some ten thousand steps for the longest domain.
    """
    if text.startswith("/"):
        if len(text) < 3 or not text.endswith("/"):
            raise ValueError("a regular expression stands between two slashes")
        source = text[1:-1]
        if len(source) > _LONGEST:
            raise ValueError(f"is longer than {_LONGEST} characters")
        if _GROUP_REPEATED.search(source):
            raise ValueError("repeats a (group): that may take for ever on a hostile domain")
    elif _GLOB.match(text.lower()):
        source = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in text.lower())
    else:
        raise ValueError('must be a domain, a pattern such as "*.example.com", or a /regular expression/')
    if len(_REPEAT.findall(source)) > _MOST_REPEATS:
        raise ValueError(f"has more than {_MOST_REPEATS} repetitions: that may take long on a hostile domain")
    try:
        return re.compile(source, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
