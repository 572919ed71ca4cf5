"""The published suite of SPF (openspf, for RFC 7208), from the source package of pyspf."""

from __future__ import annotations

import ipaddress
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from postroad.net import DnsFailure


class SuiteMissing(Exception):
    """`make test` fetches it."""


class Case(NamedTuple):
    name: str
    zone: dict[str, list[Any]]
    client: str
    mail_from: str
    helo: str
    results: list[str]
    explanation: str | None


def package() -> Path:
    """The source package of pyspf. Raises SuiteMissing."""
    packages = sorted(Path(sys.prefix, "suites").glob("pyspf-*.tar.gz"))
    if not packages:
        raise SuiteMissing(f"no pyspf-*.tar.gz in {sys.prefix}/suites: run `make test`, which fetches it")
    return packages[-1]


def cases() -> Iterator[Case]:
    with tarfile.open(package()) as archive:
        name = next(name for name in archive.getnames() if name.endswith("/rfc7208-tests.yml"))
        file = archive.extractfile(name)
        assert file is not None
        # Quoted strings of the suite hold octets above 127, which YAML reads as UTF-8.
        documents = list(yaml.safe_load_all(file.read()))
    for document in documents:
        zone = {str(key).lower(): value for key, value in document["zonedata"].items()}
        for name, test in document["tests"].items():
            results = test["result"] if isinstance(test["result"], list) else [test["result"]]
            explanation = test.get("explanation")
            yield Case(
                name,
                zone,
                test["host"],
                test["mailfrom"],
                test["helo"],
                results,
                "" if explanation == "DEFAULT" else explanation,
            )


class Zone:
    """A resolver over the suite's zone data."""

    def __init__(self, zone: dict[str, list[Any]]) -> None:
        self._zone = zone

    def _found(self, name: str, kind: str) -> list[Any]:
        found = self._zone.get(name.lower(), [])
        aliases = [entry["CNAME"] for entry in found if isinstance(entry, dict) and "CNAME" in entry]
        if aliases:
            return self._found(aliases[0], kind)
        values = [entry[kind] for entry in found if isinstance(entry, dict) and kind in entry]
        if kind == "TXT" and not values:
            # The suite's rule: SPF entries stand for TXT ones where there are none.
            values = [entry["SPF"] for entry in found if isinstance(entry, dict) and "SPF" in entry]
        values = [value for value in values if value != "NONE"]  # NONE only says that SPF entries don't stand for it
        if "TIMEOUT" in values or ("TIMEOUT" in found and not values):
            raise DnsFailure("no answer")
        return values

    async def txt(self, name: str) -> list[bytes]:
        return [
            ("".join(value) if isinstance(value, list) else str(value)).encode("utf-8")
            for value in self._found(name, "TXT")
        ]

    async def records(self, name: str, kind: Literal["A", "AAAA", "MX", "PTR"]) -> list[str]:
        values = self._found(name, kind)
        if kind == "MX":
            return [host for _, host in sorted(values)]
        if kind == "PTR":
            return [str(value) for value in values]
        return [str(ipaddress.ip_address(value)) for value in values]
