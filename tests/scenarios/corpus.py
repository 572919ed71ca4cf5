"""A corpus of real-world mail: messages that other people's test suites ship, read from where they are installed.

Nothing of it lies in this repository. Sources:

- the standard library's `test.test_email` package: its `data` folder, and the messages written out in its modules;
- the packages of requirements-corpus.txt, installed by the Makefile into `corpus` inside the virtual environment:
  flufl.bounce (bounces of all makers), HyperKitty and Mailman (list mail, much of it broken), Modoboa (DMARC reports).

On disk a message has the line ends of its platform, on the wire each line ends in CRLF (RFC 5321 2.3.8). So `content`
differs from the file (`raw`) as a mail program's submission would:

- an mbox "From " line at the top is taken off, and so are blank lines before the first header;
- CRLF, lone LF and lone CR each become CRLF, and the last line gets one if it has none.

All else, 8-bit octets, NULs, overlong lines and broken MIME included, stays.
"""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGES = Path(sys.prefix) / "corpus"
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")) / "test" / "test_email"

_FOLDERS = (
    "flufl/bounce/tests/data/*.txt",
    "hyperkitty/tests/testdata/*.txt",
    "mailman/*/tests/**/*.eml",
    "modoboa/dmarc/tests/**/*.eml",
)
_LINE_END = re.compile(rb"\r\n|\r|\n")
_MBOX_LINE = re.compile(rb"From [^\r\n]*(?:\r\n|\r|\n)")
# Two header fields at least, and a blank line: enough to tell a message from a piece of one.
_MESSAGE = re.compile(rb"(?:From [^\n]*\n)?(?:[A-Za-z][A-Za-z0-9-]*:[^\n]*\n(?:[ \t][^\n]*\n)*){2,}\n")


class Sample(NamedTuple):
    """name: package and file (and line), for test ids. content: as sent, each line with CRLF. raw: as found."""

    name: str
    content: bytes
    raw: bytes


@cache
def messages() -> list[Sample]:
    """All samples, each content once, in a fixed order."""
    found: dict[bytes, Sample] = {}
    for name, raw in sorted([*_stdlib_files(), *_stdlib_literals(), *_package_files()]):
        content = normalised(raw)
        if content:
            found.setdefault(content, Sample(name, content, raw))
    return list(found.values())


def normalised(raw: bytes) -> bytes:
    """The octets that a client submits for this file; see above."""
    text = _MBOX_LINE.sub(b"", raw.lstrip(b"\r\n"), count=1) if raw.lstrip(b"\r\n").startswith(b"From ") else raw
    text = _LINE_END.sub(b"\r\n", text.lstrip(b"\r\n"))
    return text if text.endswith(b"\r\n") or not text else text + b"\r\n"


def _stdlib_files() -> Iterator[tuple[str, bytes]]:
    for path in STANDARD_LIBRARY.glob("data/msg_*.txt"):
        yield f"test_email/{path.name}", path.read_bytes()


def _stdlib_literals() -> Iterator[tuple[str, bytes]]:
    """Messages that the modules of test_email hold as string constants."""
    for path in STANDARD_LIBRARY.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.Constant):
                continue
            value = node.value
            raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            if isinstance(raw, bytes) and _MESSAGE.match(raw.replace(b"\r\n", b"\n").lstrip(b"\n")):
                yield f"test_email/{path.name}:{node.lineno}", raw


def _package_files() -> Iterator[tuple[str, bytes]]:
    for pattern in _FOLDERS:
        for path in PACKAGES.glob(pattern):
            yield path.relative_to(PACKAGES).as_posix(), path.read_bytes()
