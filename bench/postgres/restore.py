"""How fast a database comes back from its backup, over a plain copy of the same bytes.

The backup is a full one of the running cluster, with log archiving on, into a repository on the same file system,
made with the role's options. Both ways use as many processes, read what is not in memory (a machine that gets its
data back has never seen them), write to the same file system, and end when everything is on the disk. The copied
bytes are the very files that the restore has written.
"""

from __future__ import annotations

import os
import sys
from statistics import median

from bench.postgres.server import Cluster, inside
from homelab_provision.errors import ProvisionError

ROUNDS = 3
PROCESSES = os.cpu_count() or 1  # as the role has it for a restore
REPOSITORY, RESTORED, COPIED = "/srv/repository", "/srv/restored", "/srv/copied"
# What the role writes (roles/postgres/templates/pgbackrest.conf.j2), as far as it concerns time.
CONFIGURATION = f"""[global]
repo1-path={REPOSITORY}
repo1-retention-full=2
repo1-bundle=y
repo1-block=y
compress-type=zst
start-fast=y
delta=y
process-max={PROCESSES}
lock-path=/run/postgresql/pgbackrest
spool-path=/var/spool/pgbackrest
log-level-console=warn
log-level-file=off
[main]
pg1-path=%s
pg1-port=%s
"""
ARCHIVING = """archive_mode = on
archive_command = 'pgbackrest --stanza=main archive-push %p'
"""
# The largest files first, each to whichever process is free; the many small ones in bundles.
COPY = f"""set -e; cd {RESTORED}
find . -type d -print0 | (cd {COPIED} && xargs -0 mkdir -p)
find . -type f -size +1M -printf '%s %p\\0' | sort -z -rn | cut -z -d ' ' -f 2- |
    xargs -0 -P {PROCESSES} -n 1 cp --parents -t {COPIED}
find . -type f -not -size +1M -print0 | xargs -0 -P {PROCESSES} -n 200 cp --parents -t {COPIED}
sync -f {COPIED}"""
# As `homelab-postgres restore` calls it, into a directory beside the data.
RESTORE = f"pgbackrest --stanza=main --pg1-path={RESTORED} --type=none --delta restore && sync -f {RESTORED}"

# Let the kernel forget what it keeps of these files.
FORGET = """import os, sys
os.sync()
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        file = os.open(os.path.join(folder, name), os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
"""


def measure(cluster: Cluster) -> dict[str, object]:
    """Seconds of both, in turn, and the ratio of their medians."""
    backup = _back_up(cluster)
    restores, copies = [], []
    for _ in range(ROUNDS):
        _empty(RESTORED, COPIED)
        _forget(REPOSITORY)
        restores.append(_timed(RESTORE))
        _forget(RESTORED)
        copies.append(_timed(COPY))
        print(f"bench: restore {restores[-1]:.1f} s, copy {copies[-1]:.1f} s", file=sys.stderr, flush=True)
    restored, copied = (int(_as_postgres(f"du -sb {path} | cut -f 1")) for path in (RESTORED, COPIED))
    if restored != copied:
        raise ProvisionError(f"the copy is another one: {copied} bytes instead of {restored}")
    return {
        "restore_over_copy": round(median(restores) / median(copies), 3),
        "restore_seconds": [round(one, 2) for one in restores],
        "copy_seconds": [round(one, 2) for one in copies],
        "bytes": restored,
        "repository_bytes": int(_as_postgres(f"du -sb {REPOSITORY}/backup | cut -f 1")),
        "processes": PROCESSES,
        "backup_seconds": round(backup, 2),
        "includes": "pgbackrest restore of all files of the cluster into an empty directory, to the disk;"
        " without the replay of the log and the comparison of the fingerprints",
    }


def _back_up(cluster: Cluster) -> float:
    """A full backup of the running cluster, which is stopped afterwards."""
    inside(["sh", "-c", "tee /etc/pgbackrest.conf && chmod 644 /etc/pgbackrest.conf"],
           input=CONFIGURATION % (cluster.data, cluster.port))  # fmt: skip
    cluster.configure("archiving", ARCHIVING)
    cluster.start()
    _as_postgres(f"mkdir -p {REPOSITORY} && pgbackrest --stanza=main stanza-create")
    seconds = _timed("pgbackrest --stanza=main --type=full backup")
    cluster.stop()
    return seconds


def _empty(*folders: str) -> None:
    names = " ".join(folders)
    _as_postgres(f"rm -rf {names} && mkdir -m 700 {names} && sync -f /srv")


def _forget(folder: str) -> None:
    inside(["python3", "-", folder], user="postgres", input=FORGET)


def _timed(script: str) -> float:
    return inside(["sh", "-c", script], user="postgres", deadline=3600).seconds


def _as_postgres(script: str) -> str:
    return inside(["sh", "-c", script], user="postgres", deadline=3600).stdout
