"""Whether a world came out right: nothing acknowledged is lost or changed, nothing comes twice without cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from postroad.lab.sim.receiver import Arrival
from postroad.lab.sim.sender import Fate, Submission


class End(Enum):
    """What the engine says became of a recipient's message."""

    DELIVERED = "delivered"
    FAILED = "failed"
    QUEUED = "queued"


_WORST = (End.QUEUED, End.FAILED, End.DELIVERED)


def worst(ends: Iterable[tuple[str, End]]) -> dict[str, End]:
    """One end an address, of pairs of any number: queued before failed before delivered."""
    found: dict[str, End] = {}
    for address, end in ends:
        found[address] = min(end, found.get(address, end), key=_WORST.index)
    return found


@dataclass
class Verdict:
    """findings: one sentence each, empty when all is well. duplicates: those with a good cause."""

    findings: list[str] = field(default_factory=list)
    delivered: int = 0
    failed: int = 0
    queued: int = 0
    duplicates: int = 0


def judge(
    submissions: Iterable[Submission],
    arrivals: Iterable[Arrival],
    ends: Mapping[str, End],
    crashes: Iterable[float],
    *,
    window: float = 1.0,
) -> Verdict:
    """ends: recipient address to its end, for every recipient the engine ever accepted (an address that got several
    messages, as bounces do, has the worst of their ends: see `worst`). crashes: by SimLoop.awake, as
    Arrival.answered is.

    window: seconds between the moment the engine reads a final reply and the moment its record of that can be trusted
    to survive a crash. A copy too many is excused only when the reply to the one before was never read, or a crash
    fell into its window.
    """
    verdict = Verdict()
    by_recipient: dict[str, list[Arrival]] = {}
    for arrival in arrivals:
        for recipient in arrival.recipients:
            by_recipient.setdefault(recipient, []).append(arrival)
    crash_times = sorted(crashes)

    def known_for_sure(arrival: Arrival) -> bool:
        """The engine read that it was accepted, and no crash can have made it forget."""
        answered = arrival.answered
        return answered is not None and not any(answered <= crash <= answered + window for crash in crash_times)

    letters: dict[str, str] = {}
    for submission in submissions:
        for recipient, fate in submission.fates.items():
            letters[recipient] = submission.letter.sender
            came = by_recipient.get(recipient, [])
            accepted = [arrival for arrival in came if arrival.accepted]
            sure = [arrival for arrival in accepted if known_for_sure(arrival)]
            end = ends.get(recipient)
            if fate is Fate.NEVER:
                _judge_refused(verdict, recipient, came, end)
                continue
            if fate is Fate.KEPT and end is None:
                verdict.findings.append(f"{recipient}: acknowledged, and the engine knows nothing of it: lost")
            _judge_end(verdict, recipient, accepted, sure, end)
            _judge_content(verdict, submission, recipient, came)
            verdict.duplicates += max(0, len(accepted) - 1)
    _judge_bounces(verdict, letters, by_recipient, ends, bool(crash_times))
    return verdict


def _judge_refused(verdict: Verdict, recipient: str, came: list[Arrival], end: End | None) -> None:
    if came:
        verdict.findings.append(f"{recipient}: delivered, though it was refused or never sent to its end")
    if end is not None:
        verdict.findings.append(f"{recipient}: {end.value}, though it was refused or never sent to its end")


def _judge_end(verdict: Verdict, recipient: str, accepted: list[Arrival], sure: list[Arrival], end: End | None) -> None:
    say = verdict.findings.append
    if any(arrival is not accepted[-1] for arrival in sure):
        say(f"{recipient}: sent once more, though the reply at {sure[0].answered:.3f} was read and no crash came")
    if end is End.DELIVERED:
        verdict.delivered += 1
        if not accepted:
            say(f"{recipient}: said to be delivered, and the far end never accepted it")
    elif end is End.FAILED:
        verdict.failed += 1
        if sure:
            say(f"{recipient}: said to have failed, but the far end accepted it and said so")
    elif end is End.QUEUED:
        verdict.queued += 1
    elif accepted:
        say(f"{recipient}: delivered, and the engine knows nothing of it")


def _judge_content(verdict: Verdict, submission: Submission, recipient: str, came: list[Arrival]) -> None:
    say = verdict.findings.append
    letter = submission.letter
    for arrival in came:
        if not arrival.content.endswith(letter.content):
            say(f"{recipient}: arrived changed")
        elif not _only_trace(arrival.content[: -len(letter.content)]):
            say(f"{recipient}: something else than trace fields was put in front")
        if arrival.sender != letter.sender:
            say(f"{recipient}: arrived from <{arrival.sender}>, was sent by <{letter.sender}>")


def _only_trace(head: bytes) -> bool:
    lines = head.split(b"\r\n")
    if lines.pop() != b"":
        return False
    return all(line.startswith((b"Received: ", b"\t", b" ", b"Return-Path: ")) for line in lines)


def _judge_bounces(
    verdict: Verdict,
    letters: dict[str, str],
    by_recipient: Mapping[str, list[Arrival]],
    ends: Mapping[str, End],
    crashed: bool,
) -> None:
    """Every failure is reported to its sender, and nothing else is made up. letters: recipient to sender.

    A report is kept before the end of its message is: after a crash in between, the message is tried again, and may
    even arrive. So with crashes, a report of something that didn't fail is no finding.
    """
    failed = {
        recipient: sender for recipient, sender in letters.items() if sender and ends.get(recipient) is End.FAILED
    }
    for recipient, sender in failed.items():
        reports = [a for a in by_recipient.get(sender, []) if a.accepted and recipient.encode() in a.content]
        if not reports and ends.get(sender) not in (End.QUEUED, End.FAILED):
            verdict.findings.append(f"{recipient}: failed, and its sender <{sender}> was never told")
    senders = set(letters.values()) if crashed else set(failed.values())
    for address, came in by_recipient.items():
        if address not in letters and address not in senders:
            verdict.findings.append(f"{address}: got mail that nobody sent")
        if address in senders and any(arrival.sender for arrival in came):
            verdict.findings.append(f"{address}: got a bounce that isn't from the null sender")
