"""A host whose cluster is backed up to a share, as the tests of backup and restore use it."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.container import Container

# What somebody could plant in a table: whoever makes it anew calls the function, which waits for that.
PLANTED = """
CREATE ROLE planter; GRANT CREATE ON SCHEMA public TO planter; SET ROLE planter;
CREATE FUNCTION do_grab() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    RESET ROLE;
    ALTER ROLE planter SUPERUSER;
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN RETURN false;
END $$;
CREATE FUNCTION grab() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    RETURN current_database() LIKE '%.restoring' AND public.do_grab();
END $$;
CREATE TABLE planted (first boolean DEFAULT public.do_grab(), made boolean GENERATED ALWAYS AS (public.grab()) STORED);
RESET ROLE; ALTER DATABASE other SET search_path = public, pg_catalog;
"""
DATA = "/srv/postgresql/17/main"
SERVICE = "postgresql@17-main.service"


class Told(NamedTuple):
    """What the program said: its exit status, and its JSON lines."""

    status: int
    lines: list[dict[str, Any]]

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]

    @property
    def steps(self) -> list[str]:
        return [line["name"] for line in self.lines if line["kind"] == "step"]


class Machine(Container):
    """A database host, and its program's jobs."""

    def sql(self, database: str, statement: str) -> str:
        words = f"psql -XAtq -v ON_ERROR_STOP=1 -d {database} -c {shlex.quote(statement)}"
        return self.sh(f"cd / && runuser -u postgres -- {words}")

    def job(self, *words: str, at: str = "", do: Callable[[], object] | None = None) -> Told:
        """Run the program; `do` is called when the step that begins with `at` begins."""
        argv = ["docker", "exec", self.name, "homelab-postgres", *words]
        lines: list[dict[str, Any]] = []
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
            assert running.stdout
            for line in running.stdout:
                lines.append(json.loads(line))
                if do and lines[-1]["kind"] == "step" and lines[-1]["name"].startswith(at):
                    do()
                    do = None
        assert do is None, f"the step `{at}` never came: {lines}"
        return Told(running.returncode, lines)

    def done(self, *words: str) -> dict[str, Any]:
        """The result of a job that has to succeed."""
        told = self.job(*words)
        assert told.status == 0, told.lines
        assert told.last["kind"] == "result"
        return told.last

    def fingerprint(self) -> dict[str, Any]:
        found: dict[str, Any] = self.done("fingerprint")["fingerprint"]
        return found

    def kill(self, signal: str = "KILL") -> None:
        """Send the program a signal; its lock tells which process it is."""
        pid = json.loads(self.sh("cat /run/homelab-postgres/lock"))["pid"]
        self.sh(f"kill -{signal} {pid}")

    def insert(self, database: str, table: str, rows: int, word: str) -> None:
        self.sql(database, f"INSERT INTO {table} (body) SELECT '{word} ' || n FROM generate_series(1, {rows}) n")

    def count(self, database: str, table: str) -> int:
        return int(self.sql(database, f"SELECT count(*) FROM {table}"))

    def beside(self) -> list[str]:
        """What lies beside the data, but for what a restore has replaced."""
        return [name for name in self.sh(f"ls {DATA}/..").split() if "replaced" not in name and name != "main"]

    def leftovers(self, program: str = "(postgres|pgbackrest)") -> str:
        """Processes of a restore that should have gone with it; they are given a moment."""
        for _ in range(10):
            left = self.sh(
                "cd /proc; for each in [0-9]*; do tr '\\0' ' ' <$each/cmdline 2>/dev/null | "
                f"grep -E '^[^ ]*{program}.*main[.](restoring|proving|extracting)' || true; done"
            )
            if not left:
                break
            time.sleep(0.5)
        return left


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine.of(request.config)


@pytest.fixture(scope="session")
def backed_up(machine: Machine) -> dict[str, Any]:
    """A full backup, an incremental one, and rows after it that only the archive holds; the fingerprint of it all."""
    machine.sql(
        "spans",
        "CREATE TABLE spans (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL,"
        " embedding vector(16) DEFAULT array_fill(random(), ARRAY[16])::vector,"
        " words tsvector GENERATED ALWAYS AS (to_tsvector('english', body)) STORED)",
    )
    machine.sql(
        "other",
        'CREATE TABLE "Odd ""names""" (id serial, body text, price money DEFAULT 1.5, at timestamptz DEFAULT now())',
    )
    machine.sql("other", "CREATE UNLOGGED TABLE fleeting AS SELECT 1")
    machine.sql("other", PLANTED)
    # As ALTER SYSTEM writes it, which the role does not allow.
    machine.sh(f"echo \"work_mem = '7MB'\" >>{DATA}/postgresql.auto.conf")
    machine.insert("spans", "spans", 20_000, "first")
    full = machine.done("backup", "--type", "full")
    machine.insert("spans", "spans", 2_000, "second")
    incr = machine.done("backup")
    machine.insert("other", '"Odd ""names"""', 300, "third")
    machine.sql("postgres", "SELECT pg_switch_wal()")
    return {"full": full, "incr": incr, "fingerprint": machine.fingerprint()}


@pytest.fixture
def share(machine: Machine) -> Iterator[Callable[[], None]]:
    """A share that can be taken away; it is back at the end of the test."""
    yield lambda: print(machine.sh("umount --lazy /mnt/backup"))
    machine.sh("mountpoint -q /mnt/backup || mount --bind /nas /mnt/backup")
