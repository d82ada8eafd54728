"""verify: every role's own tests against the new system. Only this makes a rebuild proven."""

from __future__ import annotations

from homelab_provision.data import restored
from homelab_provision.errors import Unproven
from homelab_provision.events import Proof
from homelab_provision.image.mirror import find_mirror
from homelab_provision.phases.context import Rebuild
from homelab_provision.roles import roles_of
from homelab_provision.verify import verify


def run(rebuild: Rebuild) -> Proof:
    """Run the tests; raises `Unproven` with what differs."""
    report = verify(
        rebuild.plan.host,
        roles_of(rebuild.host),
        ssh_config=rebuild.ssh.config_file,
        expected={
            "host": rebuild.plan.host,
            "nonce": rebuild.plan.nonce,
            "run": rebuild.run.id,
            "address": rebuild.plan.address,
            "restored": dict(restored(rebuild.run)) or None,
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
    return report.proof()
