"""A control process in small, to be killed: makes and revokes keys, and says what is done.

python -m tests.store.writer FOLDER SEED. A line "KEY digest" or "GONE digest" stands on standard output when it is in
the catalog.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import sqlalchemy as sa

from postroad.store.builder import Builder
from postroad.store.database import Database, sqlite_url
from postroad.store.keys import create_key, revoke_key
from postroad.store.schema import upgrade
from postroad.store.tables.keys import keys


async def _tell(seq: int) -> None:
    """There are no engines: they would read the file."""


async def main(folder: Path, rng: random.Random) -> None:
    database = await Database.open(sqlite_url(folder / "postroad.db"))
    await upgrade(database)
    builder = Builder(folder / "catalog", database, _tell, growth=4096)
    await builder.settle()
    database.on_commit = builder.committed
    print("READY", flush=True)
    while True:
        async with database.begin() as tx:
            there = (await tx.execute(sa.select(keys.c.id, keys.c.sha256))).all()
            if len(there) > 20 or (there and rng.random() < 0.4):
                chosen = rng.choice(there)
                await revoke_key(tx, chosen.id)
                done = f"GONE {chosen.sha256}"
            else:
                _, row = await create_key(tx, "k" * rng.randrange(1, 2000), ["smtp/inject"], now=1)
                query = sa.select(keys.c.sha256).where(keys.c.id == row.id)
                done = f"KEY {(await tx.execute(query)).scalar_one()}"
        print(done, flush=True)
        if rng.random() < 0.05:
            await builder._shrink()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), random.Random(sys.argv[2])))
