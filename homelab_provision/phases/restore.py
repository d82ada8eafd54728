"""restore: put each service's data back from its newest good backup."""

from __future__ import annotations

from typing import Any

from homelab_provision.data.program import note_restored, restored, run_program
from homelab_provision.events import Proof
from homelab_provision.phases.context import Rebuild
from homelab_provision.phases.converge import play_site


def run(rebuild: Rebuild) -> Proof:
    """Restore what preflight planned, then let the roles settle what needs the data to be there."""
    results = restored(rebuild.run)
    for backup in rebuild.plan.backups:
        if backup.role not in results:
            judged = ("--record", backup.sha256) if backup.sha256 else ()
            words = ("restore", "--label", backup.label, *judged)
            results[backup.role] = run_program(
                rebuild.ssh, rebuild.plan.host, backup.program, *words, emit=rebuild.emit
            )
            note_restored(rebuild.run, results)
    if results:
        play_site(rebuild)
        rebuild.ssh.run(rebuild.plan.host, "sync", deadline=120)
    return {"data": _data(rebuild), "restored": {role: _short(result) for role, result in results.items()}}


def _data(rebuild: Rebuild) -> str:
    if rebuild.plan.keep_data:
        return "kept"
    return "restored" if rebuild.plan.backups else "new"


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """A result without its details: they are in the run's directory."""
    return {key: value for key, value in result.items() if key != "fingerprint"}
