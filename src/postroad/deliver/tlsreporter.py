"""Sending the TLS reports of a day, when it is over, as mail of our own or by HTTPS (RFC 8460 5.3, 5.4)."""

from __future__ import annotations

import asyncio
import gzip
import os
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from random import Random
from urllib.parse import unquote

import msgspec

from postroad.config.schema import TlsReportOptions
from postroad.deliver.tlspost import Post, PostError
from postroad.deliver.tlsrpt import DAY, Day, Ours, TlsCounts, day_of, mail_addresses, report, report_id, web_places
from postroad.message import Accepted, Acceptor, Body, Notify, Recipient, Refused, Transaction
from postroad.message.address import AddressError, parse_mailbox
from postroad.message.trace import date_text
from postroad.net import Clock, DnsFailure, PolicyResolver

_SAVE = 600.0  # seconds of counts that a crash may lose
_SPREAD = 4 * 3600.0  # reports must not all come at midnight (RFC 8460 5.5)
_MOST_ADDRESSES = 3


class _State(msgspec.Struct):
    """On the disk. due: days that are over and not reported."""

    now: Day
    due: list[Day]


class TlsReporter:
    """counts: where sessions are counted. path: where they are kept over restarts. post: for places that take reports
    by HTTPS; None leaves them out. refused: by domain, why its place did not take the last day's. Construct it in the
    running loop."""

    def __init__(
        self,
        options: TlsReportOptions,
        *,
        hostname: str,
        path: Path,
        resolver: PolicyResolver,
        acceptor: Acceptor,
        clock: Clock,
        rng: Random,
        spread: float = _SPREAD,
        post: Post | None = None,
    ) -> None:
        self._post = post
        self.refused: dict[str, str] = {}
        self._ours = Ours(options.organization or hostname, options.contact, hostname)
        self._path = path
        self._resolver = resolver
        self._acceptor = acceptor
        self._clock = clock
        self._rng = rng
        self._spread = spread
        self._due: list[Day] = []
        self.counts = TlsCounts(Day(day_of(clock.wall())))
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        kept = await loop.run_in_executor(None, self._read)
        if kept is not None:
            self._due = kept.due
            if kept.now.start == self.counts.day.start and not self.counts.day.domains:
                self.counts.day = kept.now
            elif kept.now.domains:
                self._due.append(kept.now)
        self._task = loop.create_task(self._run())

    async def stop(self) -> None:
        """What was counted is kept for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._save()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        send_at = self._send_at()
        while True:
            now = self._clock.wall()
            left = self.counts.day.start + DAY - now
            if self._due:
                left = min(left, send_at - now)
            await asyncio.sleep(max(0.0, min(_SAVE, left)))
            if self.turn():
                send_at = self._send_at()
            if self._due and self._clock.wall() >= send_at:
                day = self._due.pop(0)
                try:
                    await self.send(day)
                except Exception as error:
                    # This day's reports are lost; the next ones need not be.
                    loop.call_exception_handler({"message": "sending TLS reports failed", "exception": error})
            await self._save()

    def _send_at(self) -> float:
        return self._clock.wall() + self._rng.uniform(0, self._spread)

    def turn(self) -> bool:
        """If the day is over, count for the next one."""
        today = day_of(self._clock.wall())
        if today == self.counts.day.start:
            return False
        if self.counts.day.domains:
            self._due.append(self.counts.day)
        self.counts.day = Day(today)
        return True

    async def send(self, day: Day) -> int:
        """Report to all domains of the day that ask for it; how many reports were queued, or taken."""
        sent = 0
        self.refused.clear()
        for domain in list(day.domains):
            try:
                records = await self._resolver.txt(f"_smtp._tls.{domain}")
            except DnsFailure:
                continue  # a report is not worth a second try
            for address in mail_addresses(records)[:_MOST_ADDRESSES]:
                try:
                    to = parse_mailbox(unquote(address))
                except AddressError:
                    continue
                made = self._mail(day, domain, f"{to.local}@{to.domain}")
                recipient = Recipient(f"{to.local}@{to.domain}", to.routing, notify=Notify.NEVER)
                transaction = Transaction(self._ours.contact, [recipient], Body(made), method="internal")
                sent += await self._accepted(transaction)
            if self._post is not None:
                for uri in web_places(records)[:_MOST_ADDRESSES]:
                    sent += await self._posted(self._post, uri, day, domain)
        return sent

    async def _posted(self, post: Post, uri: str, day: Day, domain: str) -> bool:
        try:
            await post(uri, _packed(day, domain, self._ours))
        except PostError as error:
            self.refused[domain] = str(error)
            return False
        return True

    async def _accepted(self, transaction: Transaction) -> bool:
        if self._acceptor.refusal() is not None:
            return False
        done: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()
        self._acceptor.accept(transaction, lambda answer: None if done.done() else done.set_result(answer))
        return isinstance(await done, Accepted)

    def _mail(self, day: Day, domain: str, to: str) -> bytes:
        ours = self._ours
        name = f"{ours.hostname}!{domain}!{day.start}!{day.start + DAY - 1}.json.gz"
        mail = EmailMessage(policy=SMTP)
        mail["From"] = ours.contact
        mail["To"] = to
        mail["Date"] = date_text(self._clock.wall())
        mail["Message-ID"] = f"<tlsrpt.{day.start}.{self._rng.getrandbits(64):016x}@{ours.hostname}>"
        mail["Subject"] = (
            f"Report Domain: {domain} Submitter: {ours.hostname} Report-ID: <{report_id(day, domain, ours)}>"
        )
        mail["TLS-Report-Domain"] = domain
        mail["TLS-Report-Submitter"] = ours.hostname
        mail["TLS-Required"] = "No"  # RFC 8689 5: it tells of TLS that fails, so it must not depend on it
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(
            f"How sessions of {ours.organization} with the mail hosts of {domain} were encrypted (RFC 8460).\n"
        )
        mail.add_attachment(_packed(day, domain, ours), "application", "tlsrpt+gzip", filename=name)
        mail.replace_header("Content-Type", "multipart/report")
        mail.set_param("report-type", "tlsrpt")
        return mail.as_bytes()

    # --- the disk -----------------------------------------------------------------------------------------------------

    async def _save(self) -> None:
        octets = msgspec.json.encode(_State(self.counts.day, self._due))
        await asyncio.get_running_loop().run_in_executor(None, self._write, octets)

    def _read(self) -> _State | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_State)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write(self, octets: bytes) -> None:
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(octets)
            os.replace(part, self._path)
        except OSError:
            part.unlink(missing_ok=True)  # a full disk costs a report, and no mail


def _packed(day: Day, domain: str, ours: Ours) -> bytes:
    return gzip.compress(report(day, domain, ours), mtime=day.start)
