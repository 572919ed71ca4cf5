"""The MTA-STS policies of domains: fetched when the DNS announces a new one, kept on the disk for as long as they last.

A policy that was seen once counts until it expires, whatever happens to the DNS or the web server meanwhile: that is
what protects from somebody who stands between (RFC 8461 10.2).
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from postroad.deliver.sts import Mode, StsError, StsPolicy, parse_policy, record_id
from postroad.deliver.stsfetch import Fetch, FetchError
from postroad.deliver.tls import Failure, Trouble
from postroad.net import Clock, DnsFailure, PolicyResolver
from postroad.net.dnscache import Kept, LookupCache

_FILE_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.\-]{0,250}[a-z0-9_])?\Z")
_REFRESH = 86_400.0  # fetch again after so long, though its id is the same (RFC 8461 3.3)
_AGAIN = 300.0  # wait after a fetch that failed (3.3)
_ANSWER = 60.0  # how long an answer of ours counts
_DOMAINS = 20_000


class StsFound(NamedTuple):
    """policy: what counts now, None for no policy. trouble: one is announced, and could not be had or read."""

    policy: StsPolicy | None
    trouble: Trouble | None = None


class _Stored(msgspec.Struct, frozen=True):
    """A policy on the disk. fetched: Unix seconds."""

    id: str
    fetched: float
    mode: Mode
    max_age: int
    hosts: tuple[str, ...]

    @property
    def policy(self) -> StsPolicy:
        return StsPolicy(self.mode, self.max_age, self.hosts)


class StsPolicies:
    """folder: where they are kept, one file a domain; made when needed."""

    def __init__(self, folder: Path, resolver: PolicyResolver, fetch: Fetch, clock: Clock) -> None:
        self._folder = folder
        self._resolver = resolver
        self._fetch = fetch
        self._clock = clock
        self._answers: LookupCache[StsFound] = LookupCache(_DOMAINS)

    async def find(self, domain: str) -> StsFound:
        """domain: A-labels in lower case. Never raises, but when it is called off."""
        if not _FILE_NAME.match(domain):
            return StsFound(None)
        return await self._answers.get(domain, lambda: self._find(domain))

    async def close(self) -> None:
        await self._answers.close()

    async def _find(self, domain: str) -> Kept[StsFound]:
        try:
            wanted = record_id(await self._resolver.txt(f"_mta-sts.{domain}"))
        except DnsFailure:
            wanted = None
        loop = asyncio.get_running_loop()
        stored = await loop.run_in_executor(None, self._read, domain)
        now = self._clock.wall()
        # A clock that was put back must not make a policy last longer.
        if stored is not None and not -_REFRESH < now - stored.fetched < stored.max_age:
            stored = None
        kept = None if stored is None else stored.policy
        if wanted is None or (stored is not None and stored.id == wanted and now - stored.fetched < _REFRESH):
            return Kept(StsFound(kept), _ANSWER)
        try:
            policy = parse_policy(await self._fetch(domain))
        except FetchError as error:
            failure = Failure.STS_WEBPKI if error.certificate else Failure.POLICY_FETCH
            return Kept(StsFound(kept, Trouble(failure, str(error))), _AGAIN)
        except StsError as error:
            text = f"the MTA-STS policy of {domain} can't be read: {error}"
            return Kept(StsFound(kept, Trouble(Failure.POLICY_INVALID, text)), _AGAIN)
        new = _Stored(wanted, now, policy.mode, policy.max_age, policy.hosts)
        await loop.run_in_executor(None, self._write, domain, new)
        return Kept(StsFound(policy), min(_ANSWER, float(policy.max_age)))

    # --- the disk, in a thread ----------------------------------------------------------------------------------------

    def _path(self, domain: str) -> Path:
        return self._folder / f"{domain}.json"

    def _read(self, domain: str) -> _Stored | None:
        try:
            return msgspec.json.decode(self._path(domain).read_bytes(), type=_Stored)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write(self, domain: str, stored: _Stored) -> None:
        path = self._path(domain)
        part = path.with_name(f".{domain}.part")
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            part.write_bytes(msgspec.json.encode(stored))
            os.replace(part, path)
        except OSError:
            # What can't be kept is fetched again after the next start; this run's mail is as safe as ever.
            part.unlink(missing_ok=True)
