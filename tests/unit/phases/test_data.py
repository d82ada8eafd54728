"""The phases `restore` and `verify` of a host with data; what happens on the host is told here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision.data.backups import PlannedBackup
from homelab_provision.data.program import DataError
from homelab_provision.errors import Unproven
from homelab_provision.events import Outcome, PhaseFinished, discard
from homelab_provision.phases import restore, verify
from homelab_provision.runs import store
from homelab_provision.runs.store import Request

BACKUP = PlannedBackup(
    role="postgres",
    program="homelab-postgres",
    label="20261123-030000F",
    finished=datetime.now(UTC),
    bytes=1,
    proven=None,
    sha256="0a" * 32,
)
FINGERPRINT: dict[str, Any] = {"databases": {"spans": {}}}


class Host:
    """A rebuild whose host answers `says` to the role's program; `asked` is what it was told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, keep_data: bool = False) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(folder))
        self.run = store.start(Request(command="rebuild", site=folder, host="db-wyse"))
        self.run.append(PhaseFinished(phase="flash", result=Outcome.OK, seconds=1))
        backups = () if keep_data else (BACKUP,)
        self.plan = SimpleNamespace(host="db-wyse", keep_data=keep_data, backups=backups)
        self.ssh = SimpleNamespace(run=lambda *words, **options: None)
        self.emit = discard
        self.asked: list[tuple[tuple[str, ...], str | None]] = []
        self.played = 0
        self.says: dict[str, Any] = {"label": BACKUP.label, "rows": 3, "fingerprint": FINGERPRINT}
        for module in (restore, verify):
            monkeypatch.setattr(module, "run_program", self.program)
        monkeypatch.setattr(restore, "play_site", self.play)

    def program(self, ssh: Any, host: str, program: str, *words: str, emit: Any, input: str | None = None) -> Any:
        self.asked.append((words, input))
        if "error" in self.says:
            raise DataError(self.says["error"])
        return self.says

    def play(self, rebuild: Any) -> None:
        self.played += 1


def test_the_planned_backup_is_restored_and_the_roles_settle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host: Any = Host(tmp_path, monkeypatch)
    proof = restore.run(host)
    assert host.asked == [(("restore", "--label", BACKUP.label, "--record", BACKUP.sha256), None)]
    assert host.played == 1
    assert proof == {"data": "restored", "restored": {"postgres": {"label": BACKUP.label, "rows": 3}}}


def test_a_resumed_run_does_not_restore_again_but_settles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host: Any = Host(tmp_path, monkeypatch)
    restore.run(host)
    restore.run(host)
    assert (len(host.asked), host.played) == (1, 2)
    host.run.append(PhaseFinished(phase="flash", result=Outcome.OK, seconds=1))  # the disk was written again
    restore.run(host)
    assert len(host.asked) == 2


@pytest.mark.negative
def test_a_restore_that_fails_leaves_nothing_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host: Any = Host(tmp_path, monkeypatch)
    host.says = {"error": "the share is away"}
    with pytest.raises(DataError):
        restore.run(host)
    assert host.played == 0
    assert not (host.run.directory / "restored.json").exists()


def test_kept_data_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host: Any = Host(tmp_path, monkeypatch, keep_data=True)
    assert restore.run(host) == {"data": "kept", "restored": {}}
    assert verify._compare_data(host) == {}
    assert (host.asked, host.played) == ([], 0)


def test_the_data_is_compared_with_what_was_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host: Any = Host(tmp_path, monkeypatch)
    restore.run(host)
    host.says = {"differences": [], "written": [], "tables": 1, "rows": 3}
    assert verify._compare_data(host) == {"data": {"postgres": {"tables": 1, "rows": 3, "written": []}}}
    words, told = host.asked[-1]
    assert words == ("fingerprint", "--against", "-")
    assert json.loads(told) == FINGERPRINT


@pytest.mark.negative
def test_data_that_differs_is_not_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host: Any = Host(tmp_path, monkeypatch)
    restore.run(host)
    host.says = {"differences": ["table spans: 2 rows instead of 3"], "written": [], "tables": 1, "rows": 2}
    with pytest.raises(Unproven) as unproven:
        verify._compare_data(host)
    assert "2 rows instead of 3" in (unproven.value.evidence or "")
