"""A PostgreSQL server of the tests' own: no TCP, a socket in a folder of its own, gone with the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

_OWNER = "postgres"  # the server refuses to run as root


class Cluster:
    """Durability is off: what is tested here is our SQL, not the server's disk."""

    def __enter__(self) -> Self:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        assert programs, "PostgreSQL is missing: run `make tools`"
        self._bin = programs[-1]
        # Not in pytest's folder: the server's user may not look into that.
        self._folder = Path(tempfile.mkdtemp(prefix="postroad-pg-"))
        self.user = _OWNER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self._folder, _OWNER, _OWNER)
        data = self._folder / "data"
        self._run("initdb", "-D", str(data), "-U", self.user, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Returns when it answers."""
        options = ("listen_addresses=", f"unix_socket_directories={self._folder}", "fsync=off", "full_page_writes=off")
        settings = [word for option in options for word in ("-c", option)]
        log = (self._folder / "log").open("ab")
        self._server = subprocess.Popen(
            self._as_owner("postgres", "-D", str(self._folder / "data"), *settings), stdout=log, stderr=log
        )
        log.close()
        ready = ["pg_isready", "-q", "-h", str(self._folder), "-d", "postgres"]
        while subprocess.run([str(self._bin / ready[0]), *ready[1:]], check=False).returncode:
            assert self._server.poll() is None, (self._folder / "log").read_text()

    def stop(self) -> None:
        """At once; who is connected is cut off."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(30)

    def url(self, name: str) -> str:
        return f"postgresql://{self.user}@/{name}?host={self._folder}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """One statement, outside a transaction; what it says."""
        arguments = ["-X", "-q", "-A", "-t", "-h", str(self._folder), "-U", self.user, "-d", database, "-c", statement]
        return subprocess.run(
            [str(self._bin / "psql"), *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    def create(self, name: str) -> str:
        """A new database; its URL."""
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(self._as_owner(program, *arguments), check=True, capture_output=True, cwd="/")

    def _as_owner(self, program: str, *arguments: str) -> list[str]:
        command = [str(self._bin / program), *arguments]
        if os.geteuid() != 0:
            return command
        return ["setpriv", f"--reuid={_OWNER}", f"--regid={_OWNER}", "--init-groups", *command]
