"""Carries a load plan out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from postroad.lab.load import http, smtp
from postroad.lab.load.http import HttpLoader
from postroad.lab.load.plan import LoadPlan, items
from postroad.lab.load.smtp import SmtpLoader
from postroad.lab.load.tally import LoadResult, Tally

_MAX_BARREN = 5
_PROGRESS_INTERVAL = 0.1


async def run_load(plan: LoadPlan, progress: Callable[[int], None] | None = None) -> LoadResult:
    """Send all messages of the plan and return the counts. Ends by itself, at plan.seconds at the latest.

    progress: told now and then how many messages are settled, and once more at the end. Nothing that the server does
    raises: it is counted. A worker gives up after some connections in a row that brought nothing.
    """
    loop = asyncio.get_running_loop()
    source = items(plan)
    by_http = round(plan.count * plan.http_share)
    smtp_tally = Tally(source, plan.count - by_http, keep_ids=plan.keep_ids)
    http_tally = Tally(source, by_http, keep_ids=plan.keep_ids)
    # One result for both.
    result = http_tally.result = smtp_tally.result
    began = loop.time()
    reporter = _Reporter(result, progress) if progress else None
    workers: list[asyncio.Task[None]] = []
    if plan.smtp and smtp_tally.left:
        stuffed = smtp.bodies(plan)
        workers += _workers(plan.smtp, plan.smtp_connections, smtp_tally, lambda: SmtpLoader(plan, smtp_tally, stuffed))
    if plan.http and http_tally.left:
        texts = http.texts(plan)
        workers += _workers(plan.http, plan.http_connections, http_tally, lambda: HttpLoader(plan, http_tally, texts))
    try:
        if workers:
            _, late = await asyncio.wait(workers, timeout=plan.seconds)
            reason = "the time was over" if late else "no connection could be had"
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if reporter:
            reporter.stop()
    for tally in (smtp_tally, http_tally):
        tally.abandon(reason if workers else "")
    result.seconds = loop.time() - began
    if progress:
        progress(settled(result))
    return result


def settled(result: LoadResult) -> int:
    """Messages whose fate is known."""
    return result.accepted + result.refused.total() + result.failed.total()


def _workers(
    target: tuple[str, int], count: int, tally: Tally, make: Callable[[], SmtpLoader | HttpLoader]
) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(_work(target, tally, make)) for _ in range(min(count, tally.left))]


async def _work(target: tuple[str, int], tally: Tally, make: Callable[[], SmtpLoader | HttpLoader]) -> None:
    """One connection after another until nothing is left to send."""
    loop = asyncio.get_running_loop()
    barren = 0
    while tally.left and barren < _MAX_BARREN:
        loader = make()
        try:
            await loop.create_connection(lambda made=loader: made, *target)  # type: ignore[misc]
        except OSError:
            barren += 1
            await asyncio.sleep(0.02 * 2**barren)
            continue
        try:
            await loader.closed
        except asyncio.CancelledError:
            loader.hang_up()
            loader.connection_lost(TimeoutError("the time was over"))
            raise
        barren = 0 if loader.settled else barren + 1


class _Reporter:
    """Calls `progress` from a timer, so that a message costs no call."""

    def __init__(self, result: LoadResult, progress: Callable[[int], None]) -> None:
        self._result = result
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_PROGRESS_INTERVAL, self._tell)

    def _tell(self) -> None:
        self._progress(settled(self._result))
        self._timer = self._loop.call_later(_PROGRESS_INTERVAL, self._tell)

    def stop(self) -> None:
        self._timer.cancel()
