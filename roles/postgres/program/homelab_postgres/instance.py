"""A temporary server of restored data: nobody reaches it but this program, and it never outlives it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from homelab_host import disk_space
from homelab_host.account import as_root
from homelab_host.errors import Trouble
from homelab_host.process import end, last_lines, start

from .config import Setup
from .pg_control import Control, read_control
from .repository import Repository
from .sql import Door
from .wal_requests import Fetch, parse_fetches

RUNTIME = Path("/run/homelab-postgres")
PORT = 5432
# Its buffers, as a part of the memory: the cluster that is to be replaced may be running beside it.
BUFFERS_PART, BUFFERS_LEAST, BUFFERS_MOST = 16, 32 << 20, 1 << 30
INSUFFICIENT = "insufficient parameter settings"


class Instance:
    """A server on `data`, in recovery from the archive; a context that stops it at its end."""

    def __init__(self, setup: Setup, repository: Repository, data: Path) -> None:
        self.setup = setup
        self.data = data
        self.folder = RUNTIME / data.name
        self.log = self.folder / "log"
        self.door = Door(self.folder, PORT)
        self.control: Control = read_control(setup, data)
        self._repository = repository
        self._server: subprocess.Popen[bytes] | None = None
        self._settings: dict[str, str] = {}
        # Whether its state at the end matters. If not, it is stopped like by a loss of power, without a checkpoint.
        self.lasting = False

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.stop(hurry=error is not None or not self.lasting)
        if error is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, settings: Mapping[str, str]) -> None:
        """Start it as a standby that is fed by the archive; `settings` add to those, or replace some."""
        self._settings = dict(settings)
        made_folder(self.data.name)
        self.control = read_control(self.setup, self.data)
        (self.data / "standby.signal").touch(0o600)
        (self.folder / "postgresql.conf").write_text("")
        (self.folder / "hba").write_text("local all postgres peer\n")
        (self.folder / "ident").write_text("")
        for old in ("fetched", "fetch-errors"):
            (self.folder / old).write_text("")
        # On the command line they win over what ALTER SYSTEM wrote, too.
        options = [f"--{name}={value}" for name, value in {**self._own_settings(), **settings}.items()]
        with self.log.open("wb") as log:
            words = [str(self.setup.programs / "postgres"), "-D", str(self.data), *options]
            # Without this program it shuts down in order.
            self._server = start(words, stop="INT", stdout=log, stderr=subprocess.STDOUT)

    def restart(self) -> None:
        self.stop()
        self.start(self._settings)

    def _own_settings(self) -> dict[str, str]:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        buffers = min(max(memory // BUFFERS_PART, BUFFERS_LEAST), BUFFERS_MOST)
        cores = os.cpu_count() or 1
        least = self.control.least
        return {
            "config_file": str(self.folder / "postgresql.conf"),
            "hba_file": str(self.folder / "hba"),
            "ident_file": str(self.folder / "ident"),
            "external_pid_file": "",
            "unix_socket_directories": str(self.folder),
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "listen_addresses": "",
            "ssl": "off",
            "cluster_name": self.data.name,
            "log_destination": "stderr",
            "logging_collector": "off",
            "lc_messages": "C",
            "log_timezone": "UTC",
            "log_min_messages": "warning",
            "log_statement": "none",
            "log_min_duration_statement": "-1",
            "shared_preload_libraries": "",
            "session_preload_libraries": "",
            "local_preload_libraries": "",
            "shared_buffers": f"{buffers >> 10}kB",
            "huge_pages": "off",
            "jit": "off",
            "autovacuum": "off",
            "fsync": "on",
            "recovery_init_sync_method": "syncfs",
            "full_page_writes": "on",
            "max_wal_size": "2GB",
            "wal_level": self.control.wal_level,
            "track_commit_timestamp": self.control.track_commit_timestamp,
            **{name: str(value) for name, value in least.items()},
            "max_worker_processes": str(max(least["max_worker_processes"], cores)),
            # Fingerprints are read with all cores; nobody else is here.
            "max_parallel_workers": str(cores),
            "max_parallel_workers_per_gather": str(cores),
            "parallel_setup_cost": "0",
            "parallel_tuple_cost": "0",
            "hot_standby": "on",
            "max_standby_archive_delay": "-1",
            "primary_conninfo": "",
            "primary_slot_name": "",
            "recovery_target_timeline": "latest",
            "recovery_target": "",
            "recovery_target_action": "pause",
            "recovery_end_command": "",
            "archive_cleanup_command": "",
            "wal_retrieve_retry_interval": "100ms",
            "restore_command": self._repository.fetch_command(self.folder, self.data),
            "archive_mode": "off",
            "archive_library": "",
            "archive_command": "",
        }

    def alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def output(self) -> str:
        """Its log since it was started."""
        with suppress(OSError):
            return self.log.read_text(errors="replace")
        return ""

    def fetches(self) -> list[Fetch]:
        return parse_fetches((self.folder / "fetched").read_text())

    def died(self, what: str) -> Trouble:
        """It ended by itself while we did something: why, with its last words."""
        evidence = last_lines(self.output())
        if any(fetch.status > 1 for fetch in self.fetches()[-1:]):
            evidence = last_lines((self.folder / "fetch-errors").read_text()) or evidence
        if disk_space.FULL in self.output() + evidence:
            return disk_space.full(self.data.parent, evidence)
        if any(fetch.status > 1 for fetch in self.fetches()[-1:]):
            return Trouble(f"the archive in the repository does not answer, so {what} stopped", None, evidence)
        return Trouble(f"the temporary server on {self.data} ended while it was to {what}", None, evidence)

    def stop(self, hurry: bool = False) -> None:
        """Stop it in order; in a hurry (something failed already) without another checkpoint."""
        if self._server is None:
            return
        ways = (signal.SIGQUIT,) if hurry else (signal.SIGINT, signal.SIGQUIT)
        end(self._server, *ways, grace=30 if hurry else 600)
        self._server = None


def made_folder(name: str) -> Path:
    """Beside the lock, where only root may make one; it is the account's from then on, and gone after a boot."""
    folder = RUNTIME / name
    uid, gid = os.geteuid(), os.getegid()
    with as_root(), suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, uid, gid, follow_symlinks=False)
    return folder
