"""Where the journals of a data folder lie: one folder an engine."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"journal-([1-9][0-9]?)\Z")


def journal_folder(data_dir: Path, engine: int) -> Path:
    """Engine 0's is `journal`, so that a server of one engine looks as it always did; engine 3's is `journal-3`."""
    return data_dir / beside("journal", engine)


def beside(name: str, engine: int) -> str:
    """What an engine calls a file or folder of its own in the data folder; engine 0's has the plain name."""
    return f"{name}-{engine}" if engine else name


def journal_folders(data_dir: Path) -> dict[int, Path]:
    """Those that are there, by engine, in order; of engines that are configured no more, too. A data folder that is not
    there has none."""
    found = {0: data_dir / "journal"} if (data_dir / "journal").is_dir() else {}
    try:
        names = sorted(path.name for path in data_dir.iterdir())
    except FileNotFoundError:
        return {}
    numbers = {int(match[1]): name for name in names if (match := _NAME.match(name))}
    return found | {
        number: data_dir / numbers[number] for number in sorted(numbers) if (data_dir / numbers[number]).is_dir()
    }
