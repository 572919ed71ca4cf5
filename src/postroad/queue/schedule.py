"""When a message is tried again (momentum.md 3.2): min(retry_interval x 2^(n-1), max_retry_interval), with jitter."""

from __future__ import annotations

from random import Random

from postroad.config.schema import QueueOptions


def retry_wait(attempts: int, options: QueueOptions, rng: Random) -> float:
    """Seconds between attempt number `attempts` (1 for the first) and the next.

    Jitter spreads what failed together, so that a host which comes back is not met by all of it at once.
    """
    # 2**n of a message retried for years would be a huge number for nothing; the cap rules long before 63 doublings.
    wait = min(float(options.retry_interval) * 2.0 ** min(attempts - 1, 63), float(options.max_retry_interval))
    return wait * (1.0 + options.retry_jitter * (2.0 * rng.random() - 1.0))


# Tries that a host's hint may hasten. A host that says "in one minute" for ever is then tried as often as any other.
_HASTENED = 5


def next_attempt(
    now: float,
    attempts: int,
    expires: float,
    retry_after: float | None,
    options: QueueOptions,
    rng: Random,
    hint: float | None = None,
) -> float | None:
    """Unix time of the next try, or None when the message expires before it could be made.

    retry_after: seconds the path or a rule asks for, instead of the schedule. hint: seconds the host asked for.
    A last try is made at the moment of expiry rather than dropping what the schedule would overshoot: the message has
    waited that long, and its sender was promised the whole time.
    """
    if now >= expires:
        return None
    if retry_after is not None:
        wait = retry_after
    else:
        wait = retry_wait(attempts, options, rng)
        if hint is not None and options.retry_hint_max:
            hinted = max(float(options.retry_hint_min), min(hint, float(options.retry_hint_max)))
            hinted *= 1.0 + options.retry_jitter * rng.random()  # never earlier than the host asked for
            wait = hinted if attempts <= _HASTENED else max(wait, hinted)
    return min(now + max(wait, 0.0), expires)
