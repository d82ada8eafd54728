"""preflight: decide everything, prove that it can be done, and touch nothing.

It comes before the run's shared context exists: what it decides is what that context is made of.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import partial

from pydantic import JsonValue

from homelab_provision import paths
from homelab_provision.data.backups import PlannedBackup, plan_backups
from homelab_provision.data.nfs import Export
from homelab_provision.doors.ssh import Answer
from homelab_provision.errors import Refused
from homelab_provision.events import Emit, Notice, Proof, step
from homelab_provision.identity.identities import retired_on
from homelab_provision.image.host_image import image_of
from homelab_provision.image.image import check_image
from homelab_provision.image.rescue import build_rescue
from homelab_provision.lab import reach
from homelab_provision.machine.placement import pick_machine
from homelab_provision.phases.context import Person
from homelab_provision.phases.plan import Plan
from homelab_provision.phases.session import Session
from homelab_provision.runs.store import Request
from homelab_provision.site.models import Host, Machine, Site
from homelab_provision.site.roles import programs_of
from homelab_provision.ways import choose, way_called


def decide(session: Session, request: Request, person: Person | None, emit: Emit) -> Plan:
    """Make the plan; raises `Refused` or `UsageError` when the rebuild cannot or must not be done.

    `person` is asked where more than one machine fits; `None`: nobody may be.
    """
    site, host = session.site, session.site.host(request.host)
    with step(emit, "find the machine"):
        answer = session.ssh.answer(host.name)
        alive = _is_alive(session, host, answer)
        machine = _pick(site, host, request.onto, alive, person)
        _refuse_twin(site, host, machine, alive)
        answers = answer is Answer.OURS and is_on(session, host, machine)
        way = _way(machine, request.way or machine.way, answers, emit)
    backups, doubts = _backups(session, host, request, emit)
    image = image_of(host, emit, max_age=site.image_max_age)
    with step(emit, "check the image"):
        check_image(image)
    with step(emit, "find the rescue system"):
        rescue = build_rescue(paths.cache(), emit)
        medium = way_called(way).prepare(site.name, session.identities.site, rescue, emit)
    return Plan(
        host=host.name,
        machine=machine.name,
        address=session.ssh.addresses[host.name],
        way=way,
        operator=machine.operator,
        disk_serials=tuple(disk.serial for disk in machine.passport.system_disks),
        erase=request.erase,
        keep_data=request.keep_data,
        image=image.directory,
        image_digest=image.digest,
        image_created=image.created,
        image_security=image.security,
        medium=medium,
        nonce=secrets.token_hex(16),
        backups=backups,
        doubts=doubts,
    )


def proof(plan: Plan) -> Proof:
    told = {"role", "label", "finished", "proven"}
    backups: list[JsonValue] = [backup.model_dump(mode="json", include=told) for backup in plan.backups]
    return {"machine": plan.machine, "disk": list(plan.disk_serials), "image": plan.image_digest, "backups": backups}


def _backups(
    session: Session, host: Host, request: Request, emit: Emit
) -> tuple[tuple[PlannedBackup, ...], tuple[str, ...]]:
    """The backups that the rebuild will restore; none where the data stays on its partition."""
    programs = programs_of(host.roles)
    if request.keep_data or not programs:
        return (), ()
    backup, door = host.backup, reach.door(session.site)
    export = Export(str(backup.server), f"{backup.export}/{host.name}", door) if backup else None
    with step(emit, "prove the backup"):
        planned, doubts = plan_backups(
            host.name,
            programs,
            export,
            session.identities.hosts[host.name].signers,
            session.identities.secrets,
            backup.max_proof_age if backup else timedelta(0),
            accept_unproven=request.accept_unproven_backup,
        )
    for doubt in doubts:
        emit(Notice(level="warning", text=f"accepted: {doubt}"))
    return planned, doubts


def _is_alive(session: Session, host: Host, answer: Answer) -> bool:
    """Whether the host answers, under its key or under one that was rotated since it was written."""
    match answer:
        case Answer.OURS:
            return True
        case Answer.STRANGER:
            shown = session.ssh.offered_key(host.name)
            return retired_on(session.identities.hosts[host.name], shown) is not None
        case _:
            return False


def is_on(session: Session, host: Host, machine: Machine) -> bool:
    """Whether the host that answers is on this machine, whatever machines.yml says: it shows one of its network cards
    (the cards of a bond show all the same address)."""
    addresses = session.ssh.run(host.name, "sh", "-c", "cat /sys/class/net/*/address", deadline=30, check=False).stdout
    return not set(machine.passport.macs).isdisjoint(addresses.lower().split())


def _way(machine: Machine, wanted: str, answers: bool, emit: Emit) -> str:
    """The name of the way that the machine goes. Raises `Refused` where it cannot."""
    if wanted == paths.AUTO:
        chosen = choose(machine, answers)
        passed = "".join(f"; not `{name}`: {objection}" for name, objection in chosen.objections.items())
        emit(Notice(text=f"{machine.name} gets into the rescue system through `{chosen.name}`{passed}"))
        return chosen.name
    if objection := way_called(wanted).objection(machine, answers):
        raise Refused(
            f"{machine.name} cannot get into the rescue system through `{wanted}`: {objection}",
            hint=f"choose another way: {', '.join(paths.way_choices())}",
        )
    return wanted


def _pick(site: Site, host: Host, onto: str | None, alive: bool, person: Person | None) -> Machine:
    def ask(asked: Person, fitting: list[Machine]) -> Machine:
        return site.machine(asked.choose(f"Which machine becomes {host.name}?", [machine.name for machine in fitting]))

    return pick_machine(
        site, host, onto, lambda machine: alive and machine.plays == host.name, partial(ask, person) if person else None
    )


def _refuse_twin(site: Site, host: Host, machine: Machine, alive: bool) -> None:
    """Two machines must not answer to one name: the old one has to be off before the new one takes over."""
    old = site.player_of(host.name)
    if alive and old is not None and old.name != machine.name:
        raise Refused(
            f"{host.name} is alive: it answers at {host.address}, played by {old.name}",
            hint=f"switch {old.name} off before {machine.name} becomes {host.name}",
        )
