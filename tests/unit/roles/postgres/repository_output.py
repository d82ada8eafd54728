"""What pgBackRest 2.55 and PostgreSQL 17 said of a real cluster that was backed up twice, and restored since."""

from __future__ import annotations

import json
from typing import Any

SYSTEM_ID = 7711361390585250237
FULL, INCR = "20261123-134125F", "20261123-134125F_20261123-134134I"
FULL_STOP, INCR_STOP = 1795441293, 1795441297
SIZE = 16 << 20


def _backup(label: str, kind: str, segment: str, stop: int, **more: Any) -> dict[str, Any]:
    return {
        "archive": {"start": segment, "stop": segment},
        "database": {"id": 1, "repo-key": 1},
        "error": False,
        "info": {"delta": 174338012, "repository": {"delta": 59023198}, "size": 174338012},
        "label": label,
        "lsn": {"start": f"0/{int(segment[-8:], 16):X}000028", "stop": f"0/{int(segment[-8:], 16):X}000120"},
        "prior": None,
        "reference": None,
        "timestamp": {"start": stop - 8, "stop": stop},
        "type": kind,
        **more,
    }


def info(status: int = 0) -> str:
    """`pgbackrest info --output=json`, the backups in another order than they were made."""
    backups = [
        _backup(INCR, "incr", "00000001000000000000000F", INCR_STOP, reference=[FULL], prior=FULL),
        _backup(FULL, "full", "00000001000000000000000C", FULL_STOP),
    ]
    stanza = {
        "archive": [{"database": {"id": 1, "repo-key": 1}, "id": "17-1", "max": "00000003", "min": "00000001"}],
        "backup": backups,
        "db": [{"id": 1, "repo-key": 1, "system-id": SYSTEM_ID, "version": "17"}],
        "name": "main",
        "status": {"code": status, "message": "ok"},
    }
    return json.dumps([stanza])


NOTHING = json.dumps(
    [{"archive": [], "backup": [], "db": [], "name": "main", "status": {"code": 1, "message": "missing"}}]
)

# What a real pgBackRest said, with status 0 each time, of a repository that it could not read.
UNREADABLE = {
    "folder": (
        99,
        "[PathOpenError] unable to list file info for path '/mnt/backup/pgbackrest/backup': [13] Permission denied",
    ),
    "broken files": (
        99,
        "[FormatError] unable to load info file '/mnt/backup/pgbackrest/backup/main/backup.info' or "
        "'/mnt/backup/pgbackrest/backup/main/backup.info.copy':\n"
        "FormatError: key/value found outside of section at line 1: x",
    ),
    "wrong key": (99, "[CryptoError] unable to flush"),
    "files gone": (3, "missing stanza data"),
    "another cluster": (5, "database mismatch across repos"),
}


def unreadable(kind: str) -> str:
    code, message = UNREADABLE[kind]
    status = {"code": code, "lock": {"backup": {"held": False}}, "message": "other" if code == 99 else message}
    repositories = [{"cipher": "none", "key": 1, "status": {"code": code, "message": message}}]
    stanza = {"archive": [], "backup": [], "cipher": "none", "db": [], "name": "main"}
    return json.dumps([{**stanza, "repo": repositories, "status": status}])


# A backup that was made with --no-online: it has no `lsn`, and its place in the archive is null.
OFFLINE_LABEL = "20261123-140000F"
OFFLINE: dict[str, Any] = {
    "archive": {"start": None, "stop": None},
    "backrest": {"format": 5, "version": "2.55"},
    "database": {"id": 1, "repo-key": 1},
    "error": False,
    "info": {"delta": 73602182, "repository": {"delta": 4505603, "size": 4505603}, "size": 73602182},
    "label": OFFLINE_LABEL,
    "prior": None,
    "reference": None,
    "timestamp": {"start": 1795442400, "stop": 1795442405},
    "type": "full",
}


def info_with(*more: dict[str, Any]) -> str:
    """The two backups, and more of them."""
    (stanza,) = json.loads(info())
    return json.dumps([{**stanza, "backup": [*stanza["backup"], *more]}])


ARCHIVED = {
    "00000001": ["0C", "0D", "0E", "0F", "10", "11"],
    "00000002": ["12", "13", "14", "15", "16"],
    "00000003": ["16", "17"],
}
# Timeline 3 left timeline 2 in the middle of segment 16, when somebody went back to an earlier time.
HISTORIES = {
    2: "1\t0/12000000\tno recovery target specified\n",
    3: "1\t0/12000000\tno recovery target specified\n\n2\t0/160243E8\tbefore 2026-11-23 13:43:41.687933+00\n",
}
BIRTHS = {2: 1795441315, 3: 1795441430}


def archive_listing() -> str:
    """`pgbackrest repo-ls --recurse --output=json archive/main/17-1`."""
    found: dict[str, Any] = {".": {"type": "path"}}
    for timeline, tails in ARCHIVED.items():
        found[f"{timeline}00000000"] = {"type": "path"}
        for tail in tails:
            name = f"{timeline}00000000000000{tail}"
            written = {"00000001": 1795441294, "00000002": 1795441426, "00000003": 1795441446}[timeline]
            found[f"{timeline}00000000/{name}-{'ab' * 20}.zst"] = {"type": "file", "size": 700, "time": written}
    found["0000000100000000/00000001000000000000000F.00000028.backup"] = {
        "type": "file",
        "size": 371,
        "time": 1795441297,
    }
    found["0000000200000000/000000020000000000000016.partial-" + "ab" * 20 + ".zst"] = {
        "type": "file",
        "size": 1,
        "time": 0,
    }
    for number, born in BIRTHS.items():
        found[f"{number:08X}.history"] = {"type": "file", "size": 42 * number, "time": born}
    return json.dumps(found)


BACKUP_LOG = """\
2026-11-23 13:23:29.192 P02 DETAIL: backup file /srv/main/base/16384/13469 (bundle 2/990635, 8KB, 98.41%) checksum a9b7
2026-11-23 13:23:29.192 P02 DETAIL: backup file /srv/postgresql/17/main/base/16384/16400 (1GB, 100.00%) checksum a9b7
2026-11-23 13:24:03.531 P01 DETAIL: restore file /srv/main.restoring/base/1/1255 (800KB, 7%) checksum c37902
2026-11-23 13:24:03.531 P00 DETAIL: check '/srv/postgresql/17/main.restoring' exists
"""

FAILED_LOG = """\
2026-11-23 13:24:06.802 P00   INFO: remap data directory to '/srv/postgresql/17/main.restoring'
2026-11-23 13:24:22.953 P00  ERROR: [042]: raised from local-2 protocol: unexpected eof
                                        [FileReadError] on 2 retries from 923-15993ms: unexpected eof
2026-11-23 13:24:22.953 P00   INFO: restore command end: aborted with exception [042]
"""

VERIFIED = """\
stanza: main
status: ok
  archiveId: 17-1, total WAL checked: 11, total valid WAL: 11
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261123-132327F, status: valid, total files checked: 1266, total valid files: 1266
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""

DAMAGED = """\
stanza: main
status: error
  backup: 20261123-132327F, status: invalid, total files checked: 1266, total valid files: 1256
    checksum invalid: 10
"""

CONTROL = f"""\
pg_control version number:            1700
Database system identifier:           {SYSTEM_ID}
wal_level setting:                    replica
max_connections setting:              150
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
track_commit_timestamp setting:       off
Bytes per WAL segment:                16777216
"""

MOUNTINFO = """\
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
40 22 0:38 / /mnt/backup rw,relatime shared:20 - autofs systemd-1 rw,fd=61
55 40 0:50 / /mnt/backup rw,relatime shared:30 - nfs4 192.168.50.20:/srv/backup/db\\040wyse rw,vers=4.2,softerr
56 22 0:51 / /mnt/waiting rw,relatime shared:31 - autofs systemd-1 rw,fd=62
"""
