"""boot: bring the machine into the rescue system, and know that it is ours."""

from __future__ import annotations

from homelab_provision.errors import ProvisionError
from homelab_provision.events import Proof, step, waiting
from homelab_provision.phases.context import Rebuild
from homelab_provision.ssh import RESCUE, Answer


class RescueNotReached(ProvisionError):
    """The machine did not come up in our rescue system. Nothing has been wiped."""


def run(rebuild: Rebuild) -> Proof:
    """Start the machine from its stick and wait for the rescue's pinned key. Already there: nothing to do."""
    if rebuild.ssh.answer(RESCUE) is not Answer.OURS:
        with step(rebuild.emit, "start the machine"):
            rebuild.operator.start_from_stick(rebuild.machine, rebuild.plan.stick)
        _wait(rebuild)
    shown = rebuild.ssh.run(RESCUE, "cat", "/etc/rescue/release", "/proc/sys/kernel/random/boot_id", deadline=30)
    release, _, boot_id = shown.stdout.strip().rpartition("\n")
    return {
        "rescue": release.strip(),
        "boot_id": boot_id,
        "address": rebuild.ssh.addresses[RESCUE],
        "host_key": rebuild.identities.site.rescue.public.split()[1][-12:],
    }


def _wait(rebuild: Rebuild) -> None:
    patience = rebuild.operator.patience
    with step(rebuild.emit, "wait for the rescue"):
        on_wait = waiting(rebuild.emit, "wait for the rescue", patience)
        answer = rebuild.ssh.wait(RESCUE, deadline=patience, on_wait=on_wait)
    if answer is Answer.OURS:
        return
    address = rebuild.ssh.addresses[RESCUE]
    seen = {
        Answer.SILENT: f"nothing answered at {address}",
        Answer.STRANGER: f"another system answered at {address}: its host key is not the rescue's",
        Answer.LOCKED_OUT: f"a rescue of this site answered at {address}, but it does not accept our key",
    }[answer]
    raise RescueNotReached(
        f"{rebuild.machine.name} did not reach the rescue system within {patience:.0f} s: {seen}",
        hint="nothing was written; check the cable and the one-time boot menu, then run again with --resume",
        evidence=rebuild.operator.console(rebuild.machine) or None,
    )
