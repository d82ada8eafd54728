"""A real server for tests, where this computer has PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: float(path.parent.name))
PORT = 5999


class Server:
    """A real server that lets in whoever the role's own pg_hba.conf lets in; `let_in` says how everybody else comes."""

    settings = ""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs
        self.run(str(programs / "initdb"), "-D", f"{folder}/data", "--no-sync")
        self._write_hba("trust", "peer")
        self.control("start", "-o", f"-k {folder} -p {PORT} -c listen_addresses='' -c fsync=off {self.settings}")

    def let_in(self, way: str, administrator: str = "peer") -> None:
        self._write_hba(way, administrator)
        self.control("reload")

    def _write_hba(self, way: str, administrator: str) -> None:
        text = f"local all postgres {administrator}\nlocal all all {way}\n"
        (self.folder / "data/pg_hba.conf").write_text(text)

    def run(self, *words: str, status: int = 0, feed: str = "") -> str:
        argv = ["runuser", "--user=postgres", "--", *words]
        done = subprocess.run(
            argv, input=feed, capture_output=True, text=True, errors="replace", timeout=120, check=False, cwd="/"
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    def control(self, *words: str) -> None:
        self.run(str(self.programs / "pg_ctl"), "-D", f"{self.folder}/data", "-w", "-l", f"{self.folder}/log", *words)

    def sql(self, database: str, statements: str, user: str = "postgres") -> str:
        door = (f"--host={self.folder}", f"--port={PORT}", "-U", user, database)
        return self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *door, feed=statements).strip()


Kind = TypeVar("Kind", bound=Server)


@contextmanager
def running(kind: type[Kind]) -> Iterator[Kind]:
    """A server for as long as the block lasts; where there can be none, the test is skipped."""
    if os.geteuid() != 0:
        pytest.skip("it stops and starts servers as the account postgres, which takes root")
    if PROGRAMS is None:
        pytest.skip("no PostgreSQL on this computer: apt-get install postgresql")
    # Not below pytest's own directory, which the account cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="homelab-postgres-"))
    shutil.chown(folder, "postgres", "postgres")
    try:
        made = kind(folder, PROGRAMS)
        yield made
    finally:
        if (folder / "data/postmaster.pid").exists():
            words = [str(PROGRAMS / "pg_ctl"), "-D", f"{folder}/data", "-m", "immediate", "stop"]
            subprocess.run(["runuser", "--user=postgres", "--", *words], check=True, capture_output=True, cwd="/")
        shutil.rmtree(folder)
