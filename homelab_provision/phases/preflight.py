"""preflight: decide everything, prove that it can be done, and touch nothing.

It comes before the run's shared context exists: what it decides is what that context is made of.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from pydantic import JsonValue

from homelab_provision import paths
from homelab_provision.data.backups import PlannedBackup, plan_backups
from homelab_provision.data.nfs import Export
from homelab_provision.doors.ssh import Answer, Ssh
from homelab_provision.errors import Refused, UsageError
from homelab_provision.events import Emit, Notice, Proof, step
from homelab_provision.identity import Identities, retired_on
from homelab_provision.image.host_image import image_of
from homelab_provision.image.os_image import check_image
from homelab_provision.image.rescue import build_rescue
from homelab_provision.lab import reach
from homelab_provision.machine.choice import pick_machine
from homelab_provision.phases.context import Person
from homelab_provision.phases.plan import Plan
from homelab_provision.runs.store import Run
from homelab_provision.site import DiskUse, Host, Machine, OperatorKind, Site, Way
from homelab_provision.site.roles import programs_of, roles_of
from homelab_provision.ways.usb import site_stick


@dataclass(frozen=True)
class Inspection:
    """What preflight works with: a site whose secrets are open, and SSH to the hosts (not yet to a rescue)."""

    run: Run
    site: Site
    identities: Identities
    ssh: Ssh
    emit: Emit
    person: Person
    unattended: bool  # nobody may be asked

    @property
    def host(self) -> Host:
        return self.site.host(self.run.request.host)


def decide(inspection: Inspection) -> Plan:
    """Make the plan; raises `Refused` or `UsageError` when the rebuild cannot or must not be done."""
    host, request = inspection.host, inspection.run.request
    address = _address(host)
    with step(inspection.emit, "find the machine"):
        alive = _is_alive(inspection)
        machine = _pick(inspection, alive)
        _refuse_twin(inspection, machine, alive)
        way = _way(machine, request.way)
    backups, doubts = _backups(inspection)
    image = image_of(host, inspection.emit, max_age=inspection.site.image_max_age)
    with step(inspection.emit, "check the image"):
        check_image(image)
    with step(inspection.emit, "find the rescue system"):
        rescue = build_rescue(paths.cache(), inspection.emit)
        stick = site_stick(inspection.site.name, inspection.identities.site, rescue, inspection.emit)
    return Plan(
        host=host.name,
        machine=machine.name,
        address=address,
        way=way,
        operator=machine.operator,
        disk_serials=tuple(disk.serial for disk in machine.passport.disks if disk.use is DiskUse.SYSTEM),
        erase=request.erase,
        keep_data=request.keep_data,
        image=image.directory,
        image_digest=image.digest,
        image_created=image.created,
        image_security=image.security,
        rescue_id=stick.rescue_id,
        stick=stick.image,
        nonce=secrets.token_hex(16),
        backups=backups,
        doubts=doubts,
    )


def proof(plan: Plan) -> Proof:
    told = {"role", "label", "finished", "proven"}
    backups: list[JsonValue] = [backup.model_dump(mode="json", include=told) for backup in plan.backups]
    return {"machine": plan.machine, "disk": list(plan.disk_serials), "image": plan.image_digest, "backups": backups}


def _backups(inspection: Inspection) -> tuple[tuple[PlannedBackup, ...], tuple[str, ...]]:
    """The backups that the rebuild will restore; none where the data stays on its partition."""
    host, request = inspection.host, inspection.run.request
    programs = programs_of(roles_of(host))
    if request.keep_data or not programs:
        return (), ()
    backup, door = host.backup, reach.door(inspection.site)
    export = Export(str(backup.server), f"{backup.export}/{host.name}", door) if backup else None
    with step(inspection.emit, "prove the backup"):
        planned, doubts = plan_backups(
            host.name, programs, export, inspection.identities.hosts[host.name].signers,
            inspection.identities.secrets,
            backup.max_proof_age if backup else timedelta(0),
            accept_unproven=request.accept_unproven_backup,
        )  # fmt: skip
    for doubt in doubts:
        inspection.emit(Notice(level="warning", text=f"accepted: {doubt}"))
    return planned, doubts


def _address(host: Host) -> str:
    if not host.provisioned:
        raise UsageError(
            f"`{host.name}` cannot be rebuilt: it is not in the group `provisioned`",
            hint="add it to that group in hosts.yml, and its machine to machines.yml",
        )
    if host.address is None:
        raise UsageError(f"`{host.name}` has no address", hint=f"set `ansible_host` of {host.name} in hosts.yml")
    return host.address


def _is_alive(inspection: Inspection) -> bool:
    """Whether the host answers, under its key or under one that was rotated since it was written."""
    name, ssh = inspection.host.name, inspection.ssh
    match ssh.answer(name):
        case Answer.OURS:
            return True
        case Answer.STRANGER:
            return retired_on(inspection.identities.hosts[name], ssh.offered_key(name)) is not None
        case _:
            return False


def _pick(inspection: Inspection, alive: bool) -> Machine:
    def ask(fitting: list[Machine]) -> Machine:
        names = [machine.name for machine in fitting]
        return inspection.site.machine(
            inspection.person.choose(f"Which machine becomes {inspection.host.name}?", names)
        )

    return pick_machine(
        inspection.site,
        inspection.host,
        inspection.run.request.onto,
        lambda machine: alive and machine.plays == inspection.host.name,
        None if inspection.unattended else ask,
    )


def _refuse_twin(inspection: Inspection, machine: Machine, alive: bool) -> None:
    """Two machines must not answer to one name: the old one has to be off before the new one takes over."""
    old = inspection.site.player_of(inspection.host.name)
    if alive and old is not None and old.name != machine.name:
        raise Refused(
            f"{inspection.host.name} is alive: it answers at {inspection.host.address}, played by {old.name}",
            hint=f"switch {old.name} off before {machine.name} becomes {inspection.host.name}",
        )


def _way(machine: Machine, asked: str | None) -> Way:
    way = Way(asked) if asked else machine.way
    if way is not Way.USB:
        raise UsageError(f"the way `{way}` into the rescue system does not exist yet", hint="use `--way usb`")
    if machine.operator is OperatorKind.WOL:
        raise UsageError(f"the operator `wol` of {machine.name} does not exist yet", hint="use `operator: person`")
    return way
