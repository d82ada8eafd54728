"""verify: every role's own tests against the new system. Only this makes a rebuild proven."""

from __future__ import annotations

import json

from pydantic import JsonValue

from homelab_provision.data.program import restored, run_program
from homelab_provision.doors.verify import verify
from homelab_provision.errors import Unproven
from homelab_provision.events import Proof, step
from homelab_provision.image.mirror import find_mirror
from homelab_provision.phases.context import Rebuild


def run(rebuild: Rebuild) -> Proof:
    """Run the tests; raises `Unproven` with what differs."""
    report = verify(
        rebuild.plan.host,
        rebuild.host.roles,
        ssh_config=rebuild.ssh.config_file,
        expected={
            "host": rebuild.plan.host,
            "nonce": rebuild.plan.nonce,
            "run": rebuild.run.id,
            "address": rebuild.plan.address,
            "mirror": mirror.base if (mirror := find_mirror()) else None,
        },
        artifacts=rebuild.run.folder("verify"),
        emit=rebuild.emit,
    )
    if not report.ok:
        raise Unproven(
            f"{rebuild.plan.host} was rebuilt, but {report.failed} of its tests failed",
            evidence="\n".join(report.failures()),
            hint="mend the cause and run `provision rebuild "
            f"{rebuild.plan.host} --resume`, or look closer with `provision verify {rebuild.plan.host}`",
        )
    return {**report.proof(), **_compare_data(rebuild)}


def _compare_data(rebuild: Rebuild) -> Proof:
    """Compare the data that was restored with its fingerprint once more, now that the roles have settled around it."""
    compared: dict[str, JsonValue] = {}
    fingerprints = {role: result["fingerprint"] for role, result in restored(rebuild.run).items()}
    for backup in rebuild.plan.backups:
        with step(rebuild.emit, f"compare the data of {backup.role}"):
            words = ("fingerprint", "--against", "-")
            found = run_program(
                rebuild.ssh,
                rebuild.plan.host,
                backup.program,
                *words,
                emit=rebuild.emit,
                input=json.dumps(fingerprints[backup.role]),
            )
        if found["differences"]:
            raise Unproven(
                f"{rebuild.plan.host} was rebuilt, but the data of {backup.role} is not what was restored",
                evidence="\n".join(found["differences"]),
                hint=f"`provision restore {rebuild.plan.host}` brings it back once more",
            )
        # What each role counts is its own: tables and rows, or stacks and their facts.
        compared[backup.role] = {name: value for name, value in found.items() if name != "differences"}
    return {"data": compared} if compared else {}
