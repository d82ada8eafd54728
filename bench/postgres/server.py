"""PostgreSQL in a container of the role tests' image: two clusters side by side, at this machine's own speed.

`defaults` is what `pg_createcluster` makes, and nothing else. `tuned` is the same with the role's settings on top.
Data lies on a volume, not on the container's layers.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.postgres.queries import Index
from homelab_provision import paths
from homelab_provision.doors.process import Completed, run
from homelab_provision.errors import ProvisionError

IMAGE = "homelab-provision/molecule:debian13"
NAME = "bench-postgres"
VERSION = "17"
# Graphs of parallel HNSW builds lie in /dev/shm, each as large as maintenance_work_mem.
SHM_BYTES = "6g"
SPILLED = re.compile(r"no longer fits into maintenance_work_mem after (\d+) tuples")
WATCHED = Path(__file__).with_name("watched.py")


class Built(NamedTuple):
    """What building an index took: seconds, of all processors, bytes on the disk, peak memory by kind, rows that had
    their place before the graph no longer fitted the memory."""

    seconds: float
    processor_seconds: float
    bytes: int
    peak: dict[str, int]
    spilled_after_rows: int | None


@dataclass(frozen=True)
class Cluster:
    """One cluster of the container, by its name and port."""

    name: str
    port: int
    database: str = "spans"

    @property
    def data(self) -> str:
        return f"/srv/{self.name}"

    def create(self, settings: str = "") -> None:
        """As Debian makes it, with `settings` as one file more in its conf.d."""
        words = ["pg_createcluster", VERSION, self.name, "-d", self.data, "-p", str(self.port)]
        inside([*words, "--", "--data-checksums"])
        if settings:
            self.configure("homelab", settings)

    def configure(self, name: str, settings: str) -> None:
        """Write a file into the cluster's conf.d; read at the next start."""
        inside(["tee", f"/etc/postgresql/{VERSION}/{self.name}/conf.d/{name}.conf"], input=settings)

    def start(self) -> None:
        inside(["pg_ctlcluster", VERSION, self.name, "start"])

    def stop(self) -> None:
        inside(["pg_ctlcluster", VERSION, self.name, "stop"], deadline=600)

    def psql(self, script: str, *, database: str | None = None, deadline: float = 3600) -> str:
        """Run a script as the superuser, stopping at the first error; returns bare rows and what was echoed."""
        words = [*self._psql(database or self.database), "--file", "-"]
        return inside(words, user="postgres", input=script, deadline=deadline).stdout

    def build(self, index: Index) -> Built:
        """Create an index, watched. The server keeps running; no other cluster may, its memory would be counted."""
        commands = [word for statement in index.statements for word in ("--command", statement)]
        words = ["python3", "-", *self._psql(self.database), *commands]
        done = inside(words, user="postgres", input=WATCHED.read_text(), deadline=7200)
        seen = json.loads(done.stdout.splitlines()[-1])
        spilled = SPILLED.search(done.stderr)
        relations = f"relkind = 'i' AND relname ~ '^spans_{index.name}(_[0-9]+)?$'"
        size = int(self.psql(f"SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE {relations}"))
        spilled_after = int(spilled[1]) if spilled else None
        return Built(seen["seconds"], seen["processor_seconds"], size, seen["peak"], spilled_after)

    def _psql(self, database: str) -> list[str]:
        return [
            "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1",
            f"--port={self.port}", f"--dbname={database}",
        ]  # fmt: skip


DEFAULTS, TUNED = Cluster("defaults", 5433), Cluster("tuned", 5434)


@contextmanager
def huge_pages() -> Iterator[None]:
    """This machine's kernel as the role sets it, for all configurations; at the end as it was."""
    role = paths.content("roles") / "postgres" / "files" / "root"
    settings = (role / "etc" / "tmpfiles.d" / "homelab-postgres.conf").read_text().splitlines()
    _, path, *_, wanted = next(line for line in settings if line.startswith("w")).split()
    kernel = Path(path)
    before = kernel.read_text()
    try:
        kernel.write_text(wanted)
    except OSError as error:
        raise ProvisionError(f"{path} cannot be set as the role does, which takes root: {error}") from None
    try:
        yield
    finally:
        kernel.write_text(before.partition("[")[2].partition("]")[0])


def huge_bytes() -> int:
    """Bytes of shared memory that lie in huge pages now, of all processes of this machine."""
    told = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("ShmemHugePages:"))
    return int(told.split()[1]) * 1024


@contextmanager
def container(spans: Path) -> Iterator[None]:
    """The container, with the generated rows mounted at /spans; it and its volume are gone at the end."""
    build = Path(__file__).resolve().parents[2] / "molecule" / "image" / "build"
    run([sys.executable, build], deadline=1800)
    _remove()
    run(
        ["docker", "run", "--detach", "--name", NAME, "--network", "none", "--shm-size", SHM_BYTES,
         "--volume", f"{NAME}:/srv", "--volume", f"{spans}:/spans:ro", IMAGE, "sleep", "infinity"],
        deadline=60,
    )  # fmt: skip
    try:
        inside(["sh", "-c", "chmod 755 /srv && chown postgres: /srv"])
        yield
    finally:
        _remove()


def inside(words: Sequence[str], *, user: str = "root", input: str | None = None, deadline: float = 300) -> Completed:
    """Run a program in the container."""
    talking = ["--interactive"] if input is not None else []
    return run(["docker", "exec", *talking, "--user", user, NAME, *words], deadline=deadline, input=input)


def versions() -> dict[str, str]:
    """The Debian packages that were measured."""
    names = [f"postgresql-{VERSION}", f"postgresql-{VERSION}-pgvector", "pgbackrest"]
    shown = inside(["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *names]).stdout
    found = dict(line.split() for line in shown.splitlines())
    if set(found) != set(names):
        raise ProvisionError(f"the image lacks packages: wanted {', '.join(names)}, found {shown!r}")
    return found


def _remove() -> None:
    run(["docker", "rm", "--force", "--volumes", NAME], deadline=120, check=False)
    run(["docker", "volume", "rm", "--force", NAME], deadline=120, check=False)
