"""boot: bring the machine into the rescue system, and know that it is ours."""

from __future__ import annotations

from contextlib import ExitStack

from homelab_provision import paths
from homelab_provision.doors.ssh import RESCUE, Answer
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Proof, step, waiting
from homelab_provision.identity.identities import retired_on
from homelab_provision.image.rescue import build_rescue
from homelab_provision.phases.confirm import BOOT_ID_FILE
from homelab_provision.phases.context import Rebuild


class RescueNotReached(ProvisionError):
    """The machine did not come up in our rescue system. Nothing has been wiped."""


def run(rebuild: Rebuild) -> Proof:
    """Bring the machine into the rescue by the plan's way, and wait for its key. Already there: nothing to do."""
    if rebuild.ssh.answer(RESCUE) is not Answer.OURS:
        # The plan's medium, unless its key was revoked since: then the one that took its place.
        rescue = build_rescue(paths.cache(), rebuild.emit)
        medium = rebuild.way.prepare(rebuild.site.name, rebuild.session.identities.site, rescue, rebuild.emit)
        with ExitStack() as stack:
            with step(rebuild.emit, "start the machine"):
                stack.enter_context(rebuild.way.serving(rebuild.operator, rebuild.machine, medium))
            _wait(rebuild)
    shown = rebuild.ssh.run(RESCUE, "cat", "/etc/rescue/release", BOOT_ID_FILE, deadline=30)
    release, _, boot_id = shown.stdout.strip().rpartition("\n")
    return {
        "rescue": release.strip(),
        "boot_id": boot_id,
        "address": rebuild.ssh.addresses[RESCUE],
        "host_key": rebuild.session.identities.site.rescue.public.split()[1][-12:],
    }


def _wait(rebuild: Rebuild) -> None:
    patience = rebuild.operator.patience
    with step(rebuild.emit, "wait for the rescue"):
        tell = waiting(rebuild.emit, "wait for the rescue", patience)

        def on_wait(waited: float, answer: Answer) -> None:
            if answer is Answer.STRANGER:
                _refuse_revoked(rebuild)
            tell(waited, answer)

        answer = rebuild.ssh.wait(RESCUE, deadline=patience, on_wait=on_wait)
    if answer is Answer.OURS:
        return
    if answer is Answer.STRANGER:
        _refuse_revoked(rebuild)
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


def _refuse_revoked(rebuild: Rebuild) -> None:
    """A stick that was revoked will not become a good one by waiting."""
    day = retired_on(rebuild.session.identities.site, rebuild.ssh.offered_key(RESCUE))
    if day is not None:
        raise RescueNotReached(
            f"{rebuild.machine.name} started from a stick that was revoked on {day}, or somebody else has one: "
            f"the rescue at {rebuild.ssh.addresses[RESCUE]} shows its key",
            hint="nothing was sent to it. Write a new stick with `provision usb write`, start the machine from it and "
            "run again with --resume; if you did not start from the old one, somebody else has it",
        )
