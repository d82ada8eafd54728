"""What `pg_controldata` tells of a data directory. Pure but for the call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from homelab_host.errors import Trouble
from homelab_host.process import run

from .config import Setup

# A standby has to allow for at least as much of each as the primary did (source: the manual, 26.4.2).
AT_LEAST = {
    "max_connections": "max_connections setting",
    "max_worker_processes": "max_worker_processes setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
}


@dataclass(frozen=True)
class Control:
    """The parts of pg_control that matter here."""

    system_id: int
    segment_size: int
    wal_level: str
    track_commit_timestamp: str
    least: dict[str, int]


def parse_control(text: str) -> Control:
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    return Control(
        system_id=int(found["Database system identifier"]),
        segment_size=int(found["Bytes per WAL segment"]),
        wal_level=found["wal_level setting"],
        track_commit_timestamp=found["track_commit_timestamp setting"],
        least={name: int(found[label]) for name, label in AT_LEAST.items()},
    )


def read_control(setup: Setup, data: Path) -> Control:
    output = run([str(setup.programs / "pg_controldata"), "--pgdata", str(data)], patience=60)
    if output.status != 0:
        raise Trouble(f"{data} holds no cluster that can be read", None, output.last_words)
    return parse_control(output.out)
