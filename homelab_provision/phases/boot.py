"""boot: bring the machine into the rescue system, and know that it is ours."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from homelab_provision import operators, paths, ways
from homelab_provision.doors.ssh import RESCUE, Answer, Ssh
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Proof, step, waiting
from homelab_provision.identity.identities import retired_on
from homelab_provision.image.rescue import Rescue, build_rescue
from homelab_provision.phases.confirm import BOOT_ID_FILE
from homelab_provision.phases.context import Rebuild
from homelab_provision.runs.lock import turn
from homelab_provision.runs.store import Run
from homelab_provision.ways import Medium, Served, Start

# In the run's directory: the public host key that the rescue has made for this run.
RESCUE_KEY = "rescue_key"


class RescueNotReached(ProvisionError):
    """The machine did not come up in our rescue system. Nothing has been wiped."""


def run(rebuild: Rebuild) -> Proof:
    """Bring the machine into the rescue by the plan's way, and wait for its key. Already there: nothing to do."""
    if rebuild.ssh.answer(RESCUE) is not Answer.OURS:
        # The plan's medium, unless its key was revoked since: then the one that took its place.
        rescue = build_rescue(paths.cache(), rebuild.emit)
        medium = rebuild.way.prepare(rebuild.site.name, rebuild.session.identities.site, rescue, rebuild.emit)
        with ExitStack() as stack:
            for name in _queues(rebuild):
                stack.enter_context(turn(name, rebuild.machine.name, partial(_tell_whom, rebuild)))
            with step(rebuild.emit, "start the machine"):
                served = stack.enter_context(rebuild.way.serving(_start(rebuild, rescue, medium)))
            _wait(rebuild, served)
    shown = rebuild.ssh.run(RESCUE, "cat", "/etc/rescue/release", BOOT_ID_FILE, deadline=30)
    release, _, boot_id = shown.stdout.strip().rpartition("\n")
    return {
        "rescue": release.strip(),
        "boot_id": boot_id,
        "address": rebuild.ssh.addresses[RESCUE],
        "host_key": rebuild.ssh.pinned[RESCUE].split()[1][-12:],
    }


def _queues(rebuild: Rebuild) -> list[str]:
    """What only one start at a time may use, until its rescue has answered."""
    way, operator = rebuild.plan.way, rebuild.plan.operator
    alone = {f"way-{way}": ways.one_at_a_time(way), f"operator-{operator}": operators.one_at_a_time(operator)}
    return [queue for queue, waits in alone.items() if waits]


def _tell_whom(rebuild: Rebuild, other: str) -> None:
    rebuild.say(f"{rebuild.machine.name} waits until {other} has been started: one at a time")


def _start(rebuild: Rebuild, rescue: Rescue, medium: Medium) -> Start:
    identity = rebuild.session.identities.site
    return Start(
        rebuild.site, identity, rescue, medium, rebuild.machine, rebuild.operator, rebuild.ssh, rebuild.plan.host
    )


def remember(run: Run, ssh: Ssh) -> None:
    """Pin the key of the rescue that this run has started before, if its way made one for it."""
    if (known := run.directory / RESCUE_KEY).exists():
        ssh.pin(RESCUE, known.read_text().strip())


def _pin(rebuild: Rebuild, key: str | None) -> None:
    if key and key != rebuild.ssh.pinned[RESCUE]:
        rebuild.run.write(RESCUE_KEY, key + "\n")
        rebuild.ssh.pin(RESCUE, key)


def _wait(rebuild: Rebuild, served: Served) -> None:
    patience = rebuild.operator.patience
    with step(rebuild.emit, "wait for the rescue"):
        tell = waiting(rebuild.emit, "wait for the rescue", patience)

        def on_wait(waited: float, answer: Answer) -> None:
            if answer is Answer.STRANGER:
                _refuse_revoked(rebuild)
            _pin(rebuild, served.host_key())
            tell(waited, answer)

        answer = rebuild.ssh.wait(RESCUE, deadline=patience, on_wait=on_wait)
        served.host_key()  # the last moment at which a second one would show
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
    come = served.progress()
    raise RescueNotReached(
        f"{rebuild.machine.name} did not reach the rescue system within {patience:.0f} s: {seen}"
        + (f"; {come}" if come else ""),
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
