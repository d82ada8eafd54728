#!/usr/bin/python
"""Ansible module: one index, built beside running work. It may take hours, so it is meant for `async`.

What is compared and in which steps it goes is in module_utils/homelab_postgres/indexes.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import pwd
import syslog
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.homelab_postgres import indexes, tuning
from ansible.module_utils.homelab_postgres.client import (
    MissingError,
    Session,
    SqlError,
    UnreachableError,
    identifier,
    literal,
)

DOCUMENTATION = r"""
module: postgres_index
short_description: An index of PostgreSQL, built concurrently
description:
  - Drops what an interrupted build has left, and builds; a changed index takes the old one's place when complete.
  - Tells the journal how far it is (journalctl -t homelab-progress). One at a time; a second run waits for the first.
options:
  socket: {type: path, required: true, description: Directory of the Unix socket.}
  port: {type: int, default: 5432, description: Port that is part of the socket's name.}
  index: {type: dict, required: true, description: An entry of postgres_indexes.}
"""

EXAMPLES = r"""
- name: Build an index
  postgres_index:
    socket: /var/run/postgresql
    index: {database: spans, table: spans, name: spans_words, using: gin, "on": words}
  async: 604800
  poll: 5
"""

RETURN = r"""
statements: {description: What was done., type: list, elements: str, returned: success}
seconds: {description: How long it took., type: float, returned: success}
"""

ACCOUNT = "postgres"
LOCK = Path("/run/homelab-provision/postgres-index.lock")
PROGRESS_SECONDS = 5

PROGRESS = """
SELECT phase || coalesce(' ' || 100 * greatest(blocks_done, tuples_done)
    / nullif(greatest(blocks_total, tuples_total), 0) || ' %', '')
FROM pg_stat_progress_create_index WHERE datname = {}
"""
# What is installed counts: the library is the package's, also where the database has not been updated yet.
PGVECTOR = "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
PARALLEL = (
    "SELECT current_setting('max_parallel_maintenance_workers')::int, current_setting('max_parallel_workers')::int"
)
BUILDING = "SELECT FROM pg_stat_progress_create_index WHERE datname = current_database() AND relid = to_regclass({})"


def main() -> None:
    index = {"type": "dict", "required": True, "options": indexes.INDEX}
    spec = {"socket": {"type": "path", "required": True}, "port": {"type": "int", "default": 5432}, "index": index}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=False)
    started = time.monotonic()
    try:
        done = settle(module.params["socket"], module.params["port"], module.params["index"])
    except (SqlError, UnreachableError, MissingError, ValueError) as error:
        module.fail_json(msg=f"index {module.params['index']['name']}: {error}")
    module.exit_json(changed=bool(done), statements=done, seconds=round(time.monotonic() - started, 1))


def settle(socket: str, port: int, index: dict[str, Any]) -> list[str]:
    uid = pwd.getpwnam(ACCOUNT).pw_uid
    with alone(), Session(socket, port, uid, index["database"]) as server:
        let_finish(server, index)
        current = indexes.look(server, index)  # again: somebody else may have built it
        if isinstance(current, str):
            raise ValueError(current)
        todo: list[str] = indexes.steps(index, current)
        prepare(server, index)
        path = indexes.search_path(server, index) if index["state"] == "present" else ""
        with progress_told(socket, port, uid, index):
            for statement in todo:
                # The words of the definition are the user's, and mean what they mean in the database.
                if path and statement.startswith("CREATE"):
                    server.query(f"SET search_path = {path}")
                server.query(statement)
                server.query(indexes.PLAIN_PATH)
    return todo


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Builds would share memory and disk, and an unfinished index of a running build looks like a left-over."""
    LOCK.parent.mkdir(mode=0o755, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def let_finish(server: Session, index: dict[str, Any]) -> None:
    """The server goes on building when whoever asked for it was killed; what it has begun is not begun again."""
    table = ".".join(identifier(name) for name in indexes.place(index))
    while server.query(BUILDING.format(literal(table))):
        time.sleep(1)


def prepare(server: Session, index: dict[str, Any]) -> None:
    """No deadline, and the memory and the cores that the index may have."""
    server.query("SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0")
    if index["memory"]:
        server.query(f"SET maintenance_work_mem = {literal(index['memory'])}")
    versions = server.query(PGVECTOR)
    for workers, of in server.query(PARALLEL):
        desired = workers_for(index["using"], versions[0][0] if versions else None, workers, of)
        server.query(f"SET max_parallel_maintenance_workers = {desired}")


def workers_for(method: str, pgvector: str | None, usual: int, most: int) -> int:
    """How many processes may help to build: `usual`, as the server is set. With a pgvector that must build alone
    nothing is built in parallel unless somebody says so, and an index of another kind is our own to say."""
    if not tuning.builds_hnsw_alone(pgvector):
        return usual
    return 0 if method.lower() == "hnsw" else usual or max(most - 1, 0)


@contextlib.contextmanager
def progress_told(socket: str, port: int, uid: int, index: dict[str, Any]) -> Iterator[None]:
    """Tell the journal how far it is, from a thread of its own."""
    syslog.openlog("homelab-progress")
    finished = threading.Event()

    def tell() -> None:
        # Who watches must not disturb: a session that is refused leaves the build alone.
        with contextlib.suppress(SqlError, UnreachableError), Session(socket, port, uid) as server:
            while not finished.wait(PROGRESS_SECONDS):
                for row in server.query(PROGRESS.format(literal(index["database"]))):
                    syslog.syslog(f"{index['name']}: {row[0]}")

    teller = threading.Thread(target=tell)
    teller.start()
    syslog.syslog(f"{index['name']}: begun")
    try:
        yield
    finally:
        finished.set()
        teller.join()
        syslog.syslog(f"{index['name']}: ended")


if __name__ == "__main__":
    main()
