"""arrive: the disk boots, and what answers is this run's system, nobody else's."""

from __future__ import annotations

from homelab_provision.doors.ssh import RESCUE, Answer
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Proof, step, waiting
from homelab_provision.identity.identities import retired_on
from homelab_provision.identity.seed import RELEASE
from homelab_provision.phases.context import Rebuild
from homelab_provision.text import json_object

DEADLINE = 600.0


class NotArrived(ProvisionError):
    """The new system did not answer, or something else did."""


def run(rebuild: Rebuild) -> Proof:
    """Reboot out of the rescue, wait for the host's own pinned key, and compare the nonce."""
    host = rebuild.plan.host
    rebuild.ssh.forget(host)
    in_rescue = rebuild.ssh.answer(RESCUE) is Answer.OURS
    if in_rescue or not _is_there(rebuild):
        with step(rebuild.emit, "restart from the disk"):
            _restart(rebuild, in_rescue)
        with step(rebuild.emit, f"wait for {host}"):
            _wait(rebuild)
    release, boot_id = _read_release(rebuild)
    rescue_boot = rebuild.run.proven()["boot"].proof.get("boot_id")
    if boot_id == rescue_boot:
        raise NotArrived(f"{host} answers from the rescue system (same boot id), not from its disk")
    return {
        "address": rebuild.plan.address,
        "nonce": release["nonce"],
        "boot_id": boot_id,
        "host_key": rebuild.session.identities.hosts[host].host_key.public.split()[1][-12:],
    }


def _is_there(rebuild: Rebuild) -> bool:
    return rebuild.ssh.answer(rebuild.plan.host) is Answer.OURS and _is_ours(rebuild)


def _restart(rebuild: Rebuild, in_rescue: bool) -> None:
    if in_rescue:
        # The reboot cuts its own connection, so how this command ends says nothing.
        rebuild.ssh.run(
            RESCUE, "sh", "-c", "sync; (sleep 0.2; reboot -f) </dev/null >/dev/null 2>&1 &", deadline=20, check=False
        )
        rebuild.ssh.forget(RESCUE)
        rebuild.way.leave(rebuild.operator, rebuild.machine)
    else:
        rebuild.operator.start_from_disk(rebuild.machine)


def _wait(rebuild: Rebuild) -> None:
    """Wait for the new system; fail at once when an older one answers with the same key."""
    tell = waiting(rebuild.emit, f"wait for {rebuild.plan.host}", DEADLINE)
    answer = rebuild.ssh.wait(rebuild.plan.host, deadline=DEADLINE, on_wait=tell)
    if answer is not Answer.OURS:
        raise _nobody(rebuild, answer)
    if not _is_ours(rebuild):
        raise _old_system(rebuild)


def _is_ours(rebuild: Rebuild) -> bool:
    return _read_release(rebuild)[0].get("nonce") == rebuild.plan.nonce


def _read_release(rebuild: Rebuild) -> tuple[dict[str, str], str]:
    shown = rebuild.ssh.run(
        rebuild.plan.host, "cat", f"/{RELEASE}", "/proc/sys/kernel/random/boot_id", deadline=30, check=False
    ).stdout
    text, _, boot_id = shown.strip().rpartition("\n")
    return json_object(text) or {}, boot_id


def _old_system(rebuild: Rebuild) -> NotArrived:
    release, _ = _read_release(rebuild)
    whose = f"run {release['run']}" if release.get("run") else "no run of this toolkit"
    old = [
        name
        for name, machine in rebuild.site.machines.items()
        if machine.plays == rebuild.plan.host and name != rebuild.plan.machine
    ]
    return NotArrived(
        f"an old system of {rebuild.plan.host} answers at {rebuild.plan.address}: "
        f"it comes from {whose}, not from this run ({rebuild.run.id})",
        hint=f"switch off the old machine{f' ({old[0]})' if old else ''}, then run again with --resume",
    )


def _nobody(rebuild: Rebuild, answer: Answer) -> NotArrived:
    shown = rebuild.ssh.offered_key(rebuild.plan.host) if answer is Answer.STRANGER else None
    day = retired_on(rebuild.session.identities.hosts[rebuild.plan.host], shown)
    whose = f"the one of {rebuild.plan.host} that was taken out of use on {day}" if day else shown
    seen = {
        Answer.SILENT: "nothing answers there",
        Answer.STRANGER: f"something else answers there, with another SSH host key ({whose})",
        Answer.LOCKED_OUT: "it shows the right host key but does not accept the controller's key",
        Answer.OURS: "",
    }[answer]
    return NotArrived(
        f"{rebuild.plan.host} did not come up at {rebuild.plan.address} within {DEADLINE:.0f} s: {seen}",
        hint="look at the machine's screen; once it starts from its disk, run again with --resume",
        evidence=rebuild.operator.console(rebuild.machine) or None,
    )
