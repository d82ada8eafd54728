"""The configuration files of a cluster: made, judged before anybody loads them, put back if they are refused."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.homelab import files
from ansible.module_utils.homelab_postgres import hba, tuning
from ansible.module_utils.homelab_postgres.client import Session

MAPS = "# Written by the role postgres: nobody is taken for anybody else.\n"
SETTINGS_HEAD = """\
# Derived by the role postgres from this machine: {memory} MiB of memory, {cores} cores, a disk {disk}.
# Profile {profile}, {share:.0%} of the memory. What `postgres_settings` says wins.

"""
# The rest of pgBackRest's configuration needs no facts of the machine.
PROCESSES = "/etc/pgbackrest/conf.d/machine.conf"
BACKUP_PROCESSES = """\
# Written by the role postgres: a backup leaves half of the cores to the database, a restore has nobody to wait for.
[global]
process-max={some}

[global:restore]
process-max={all}
"""
ROOT = 0

# Asked of the running server, about the files as they lie there and not as it runs. A parameter that only a restart
# changes is reported there as one that "could not be applied"; its value has been judged by `postgres -C` before.
COMPLAINTS = """
SELECT coalesce(json_agg(format('%s:%s: %s', file, line, error)), '[]') FROM (
    SELECT f.sourcefile, f.sourceline, concat_ws(' ', name, f.error)
    FROM pg_file_settings f LEFT JOIN pg_settings s USING (name)
    WHERE f.error IS NOT NULL AND s.context IS DISTINCT FROM 'postmaster'
        AND f.error NOT LIKE '%cannot be changed without restarting%' -- a line that has gone
    UNION ALL SELECT file_name, line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL
    UNION ALL SELECT file_name, line_number, error FROM pg_ident_file_mappings WHERE error IS NOT NULL
) AS complaints (file, line, error)
"""


class RefusedError(Exception):
    """PostgreSQL does not accept a file; nothing has been changed."""


def desired(params: dict[str, Any], machine: tuning.Machine, uid: int, gid: int) -> list[files.Desired]:
    """Every file and directory of the configuration. Raises `ValueError` for what cannot be right."""
    where = params["config"]
    asked = params["tuning"]
    settings = tuning.tune(machine, profile=asked["profile"], share=asked["memory_share"], desired=asked["settings"])
    head = SETTINGS_HEAD.format(
        memory=machine.memory_mib,
        cores=machine.cores,
        disk="that turns" if machine.rotational else "without moving parts",
        profile=asked["profile"],
        share=asked["memory_share"],
    )
    texts = {
        "postgresql.conf": params["text"],
        "conf.d/50-settings.conf": head + tuning.render(settings),
        "pg_hba.conf": hba.text(params["clients"]),
        "pg_ident.conf": MAPS,
        "start.conf": "auto\n",
    }
    processes = BACKUP_PROCESSES.format(some=max(machine.cores // 2, 1), all=machine.cores)
    certificate, key = key_pair(params["tls"]["certificate"], params["tls"]["key"])
    return [
        *(
            files.Desired(folder, "directory", b"", 0o755, ROOT, ROOT)
            for folder in (str(Path(where).parent), where, f"{where}/conf.d")
        ),
        *(files.Desired(f"{where}/{name}", "file", text.encode(), 0o640, ROOT, gid) for name, text in texts.items()),
        files.Desired(PROCESSES, "file", processes.encode(), 0o644, ROOT, ROOT)
        if params["backup"]
        else files.Desired(PROCESSES, "absent"),
        files.Desired(f"{where}/server.crt", "file", certificate, 0o644, ROOT, ROOT),
        files.Desired(f"{where}/server.key", "file", key, 0o600, uid, gid),
    ]


def key_pair(certificate: str, key: str) -> tuple[bytes, bytes]:
    """Both files' bytes. Raises `RefusedError` if one is missing or they do not belong together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:
        raise RefusedError(f"the server needs a certificate {certificate} and its key {key}: {error}") from None
    return Path(certificate).read_bytes(), Path(key).read_bytes()


def changes(plan: list[files.Desired]) -> list[files.Desired]:
    return [file for file in plan if files.differs(file, files.look(file.path))]


def judge(module: Any, plan: list[files.Desired], where: str, postgres: str, account: str) -> None:
    """Let PostgreSQL read the new files from another place. Raises `RefusedError` with its own words."""
    with tempfile.TemporaryDirectory(prefix="postgres-", dir="/run") as folder:
        Path(folder).chmod(0o755)
        draft = f"{folder}/draft"
        for file in files.in_order([file for file in plan if file.path.startswith(where)]):
            if not file.path.endswith(".key"):
                files.commit(file._replace(path=file.path.replace(where, draft, 1)))
        code, _, err = module.run_command([
            "setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups",
            postgres, "-C", "port", "-c", f"config_file={draft}/postgresql.conf",
        ])  # fmt: skip
    if code:
        raise RefusedError(f"PostgreSQL refuses the new configuration: {err.strip().replace(draft, where)}")


@contextlib.contextmanager
def placed(todo: list[files.Desired]) -> Iterator[None]:
    """Put the files where they belong; if the block raises, put the old ones back."""
    old = {file.path: files.look(file.path) for file in todo}
    for file in files.in_order(todo):
        files.commit(file)
    try:
        yield
    except Exception:
        for file in reversed(files.in_order(todo)):
            current = old[file.path]
            if file.kind == "file" and current.kind in ("file", "absent"):
                files.commit(files.Desired(file.path, *current))
        raise


def newest(plan: list[files.Desired]) -> float:
    """When the last of the files was written; a server that has read its configuration before has to read it again."""
    there = (Path(file.path) for file in plan if file.kind == "file")
    return max((path.stat().st_mtime for path in there if path.exists()), default=0)


def complaints(session: Session) -> list[str]:
    """What the server would not like about the files as they lie there."""
    return list(session.document(COMPLAINTS))
