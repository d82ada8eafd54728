"""What a stack has in a database of its own, kept while a new version is tried, which may change it and then fail.

Made and put back as the stack's own user, from this host: the server knows nothing of it.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homelab_host import report
from homelab_host.errors import Trouble
from homelab_host.process import run

from . import needs
from .database import AUTHORITY, PASSWORD
from .project import COPYING, Project
from .values import Wrong

# In the list of a dump: what the administrator has put there, and leaves there.
_NOT_ITS_OWN = re.compile(r"^\d+; \d+ \d+ (EXTENSION|COMMENT - EXTENSION) ")


def keep(project: Project) -> None:
    """Copy the database of the stack that is in force, which has been stopped. Raises `Trouble`."""
    if not (mine := _database(project.home)):
        return
    report.step(f"keep a copy of the database of {project.name}")
    project.dump_part.touch(0o600)
    with _known(mine, project.next, project.home) as environment:
        words = ["pg_dump", "--format=custom", f"--file={project.dump_part}"]
        done = run(words, patience=COPYING, environment=environment)
    if done.status:
        raise Trouble(f"the database of {project.name} could not be copied", None, done.last_words)
    project.dump_part.rename(project.dump)


def put_back(project: Project) -> None:
    """Make the database of the previous project what it was, all at once or not at all, if a copy was made."""
    if not project.dump.exists() or not (mine := _database(project.previous)):
        return
    report.step(f"put the database of {project.name} back")
    with _known(mine, project.home, project.previous) as environment:
        folder = Path(environment["PGPASSFILE"]).parent
        listed = run(["pg_restore", "--list", str(project.dump)], patience=COPYING, environment=environment)
        lines = [line for line in listed.out.splitlines() if not _NOT_ITS_OWN.match(line)]
        (folder / "list").write_text("\n".join(lines))
        statements = project.dump_part
        statements.touch(0o600)
        words = ["pg_restore", "--no-owner", "--no-privileges", f"--use-list={folder / 'list'}", f"--file={statements}"]
        done = run([*words, str(project.dump)], patience=COPYING, environment=environment)
        if not listed.status and not done.status:
            # What the new version has made goes as well.
            words = ["psql", "-Xq", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
            words += ["--command=DROP OWNED BY CURRENT_USER", f"--file={statements}"]
            done = run(words, patience=COPYING, environment=environment)
    if listed.status or done.status:
        raise Trouble(
            f"the database of {project.name} could not be put back as it was",
            f"its copy is {project.dump}; apply this host again when the server answers",
            (listed if listed.status else done).last_words,
        )


def _database(place: Path) -> needs.Database | None:
    """The database that a project has for itself."""
    try:
        told = json.loads((place / "stack.json").read_text())["needs"]
        found = needs.parse(told, str(place)).databases
    except (OSError, ValueError, KeyError, TypeError, Wrong):
        return None
    return next((each for each in found if each.name), None)


@contextmanager
def _known(database: needs.Database, *projects: Path) -> Iterator[dict[str, str]]:
    """The environment of libpq, with the password of the first project that has this database: it is the newest."""
    place = next(each for each in projects if (it := _database(each)) and _same(it, database))
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        password = (place / "secrets" / PASSWORD).read_text().rstrip("\n")
        passfile = Path(folder, "passfile")
        passfile.touch(0o600)
        passfile.write_text("*:*:*:*:" + re.sub(r"([\\:])", r"\\\1", password) + "\n")
        yield {
            "PGHOST": database.host,
            "PGPORT": str(database.port),
            "PGDATABASE": database.name,
            "PGUSER": database.user,
            "PGPASSFILE": str(passfile),
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(place / "secrets" / AUTHORITY),
            "PGCONNECT_TIMEOUT": "15",
        }


def _same(one: needs.Database, other: needs.Database) -> bool:
    return (one.host, one.port, one.name, one.user) == (other.host, other.port, other.name, other.user)
