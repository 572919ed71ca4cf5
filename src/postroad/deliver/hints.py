"""When a host that refuses for now says itself when to come back: "try again in 300 seconds", as greylisting does
(RFC 6647 2.1 leaves the words to the host). Pure; what is found is a wish, which queue keeps within bounds."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNIT = r"(?:s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?)(?:\(s\))?(?![a-z])"
_PART = rf"\d{{1,9}}(?:\.\d{{1,2}})? ?{_UNIT}"
_SPAN = rf"(?P<span>\d{{1,3}}:\d\d:\d\d(?![\d:])|{_PART}(?:(?:,? and |, | )?{_PART}){{0,3}})"
# Words that may stand between "again" and the time. "within" is none of them: it sets a latest time, not an earliest.
_FILLER = (
    r"(?: |[:,;(]|\b(?:again|after|in|for|at|least|about|approximately|around|another|the|next|a|minimum|of|before|"
    r"no|not|sooner|earlier|than|until|please|later|your|message|mail|delivery|sending|connecting|this|it|to)\b){1,24}"
)
_NOT = r"(?P<not>\b(?:not|never)|n't)? ?"
_AGAIN = re.compile(
    rf"{_NOT}(?:(?<!tried )(?:try )?\bagain|\bre-?try(?:ing)?|\bre-?send|\bcome back|\bwait)\b{_FILLER}{_SPAN}", re.I
)
_GREYLISTED = re.compile(rf"\bgr[ae]y-?list(?:ed|ing)(?: period)?(?: for| of| is|:|,|;| \()? ?{_SPAN}", re.I)
_LEFT = re.compile(rf"{_SPAN} (?:left|remaining|remain|to go)\b", re.I)
_GREY = re.compile(r"\bgr[ae]y-?list", re.I)
_PIECE = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,2}})?) ?({_UNIT})", re.I)
_SPACES = re.compile(r"\s*/\s|\s+")
# Where a time must be, or there is nothing to look for: most replies end here.
_TIME = re.compile(r"\d ?[smhd]|\d:\d\d:\d", re.I)
_LOOKED_AT = 1000  # characters of a reply


def hint(text: str) -> float | None:
    """The seconds after which the reply asks for another try, more than 0; None when it names no time.

    text: of a temporary reply, its lines joined by " / ".
    """
    if _TIME.search(text) is None:
        return None
    text = _SPACES.sub(" ", text[:_LOOKED_AT])
    found = _AGAIN.search(text)
    if found is not None:
        # "Do not try again for 5 minutes" names a time to wait; "do not try again in 5 minutes" is no invitation.
        if found["not"] and not re.search(r"\b(?:for|before|until)\b", found[0], re.I):
            return None
    elif _GREY.search(text) is not None:
        found = _GREYLISTED.search(text) or _LEFT.search(text)
    return _seconds(found["span"]) if found is not None else None


def _seconds(span: str) -> float | None:
    if ":" in span:
        hours, minutes, seconds = map(int, span.split(":"))
        total = hours * 3600.0 + minutes * 60 + seconds
    else:
        total = sum(float(number) * _SECONDS[unit[0].lower()] for number, unit in _PIECE.findall(span))
    return total or None
