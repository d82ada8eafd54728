"""Take machines into service that have come up in the rescue system: find them, look at them, write their passports.

Whoever answers is believed only under the pinned key of the site's rescue; nothing is sent to anybody else, and nothing
is written on a machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from homelab_provision.doors.neighbours import shown_keys
from homelab_provision.doors.process import ProcessError
from homelab_provision.doors.ssh import RESCUE, Answer, Door, Ssh, opened
from homelab_provision.errors import ProvisionError, Refused, UsageError
from homelab_provision.events import Emit, Notice, step
from homelab_provision.identity.identities import SiteIdentity, retired_on
from homelab_provision.identity.identities import load as load_identities
from homelab_provision.lab import reach
from homelab_provision.machine.draft import built_in_disks, draft_passport, kind_of, proposed_name
from homelab_provision.machine.facts import MachineFacts
from homelab_provision.machine.inspection import Health, Inspection, Shape, health
from homelab_provision.machine.match import Mismatch, compare, recognise
from homelab_provision.paths import PACKAGE
from homelab_provision.phases.identify import ask_facts, understand
from homelab_provision.site.assignment import record_machine
from homelab_provision.site.form import LABEL_EXPECTED, fault_of_name
from homelab_provision.site.models import Machine, Passport, Site
from homelab_provision.site.vault.store import SITE, Vault

INSPECTION_SCRIPT = PACKAGE / "rescue" / "inspection.py"


@dataclass(frozen=True)
class Found:
    """A box in the rescue system: where it answers, what it says of itself, and which machine of the site it is."""

    address: str
    facts: MachineFacts
    inspection: Inspection
    known: Machine | None = None

    @property
    def differences(self) -> list[Mismatch]:
        """Where a known machine is not as its passport says."""
        return self.differences_from(self.known) if self.known else []

    def differences_from(self, machine: Machine) -> list[Mismatch]:
        """Where it is not as the passport of a machine says."""
        return compare(machine.passport, self.facts)

    def health(self, disk: str) -> Health:
        return health(self.inspection.disks.get(disk))


def look(site: Site, addresses: Sequence[str], emit: Emit) -> list[Found]:
    """Every box of the site's network (or of `addresses` alone) that runs the site's rescue system.

    Raises ProvisionError if there is none that lets us in.
    """
    with _opened(site) as (identity, ssh):
        with step(emit, "look for rescue systems"):
            asked = list(addresses) or list(reach.link_local_neighbours(site))
            ours = _ours(identity, reach.door(site), asked, emit)
        if not ours:
            raise _nobody(site, addresses, asked)
        found: dict[str | None, Found] = {}
        for address in ours:
            with step(emit, f"read the machine at {address}"):
                try:
                    seen = _read(ssh, address, site, emit)
                except ProcessError as slow:  # one that falls silent hides no other
                    emit(Notice(level="warning", text=f"{address}: {slow.message}"))
                    continue
            if seen:  # one box may answer at several addresses
                found.setdefault(seen.facts.boot_id or address, seen)
    if not found:
        raise ProvisionError(
            f"a rescue system of this site answers at {', '.join(ours)}, but could not be read",
            hint="what it said stands above; start it again, from a stick that was written since its key was made",
        )
    return list(found.values())


def look_at(site: Site, machine: Machine, emit: Emit) -> Found:
    """A machine of the site that runs the rescue system. Raises ProvisionError if it does not."""
    return look(site, [reach.rescue_address(site, machine)], emit)[0]


def propose(site: Site, found: Found, name: str | None, system: str | None) -> Machine:
    """The machine that would be written into the site; `system` is the serial of the disk that may be flashed, which
    need not be said of a box with one. Raises Refused or UsageError."""
    model = kind_of(found.facts, site.machines.values())
    name = name or proposed_name(model, site.machines)
    if fault := fault_of_name(name):
        raise UsageError(f"`{name}` is no name for a machine: {fault}", hint=f"expected {LABEL_EXPECTED}")
    if name in site.machines:
        raise UsageError(f"there is a machine `{name}` already", hint="choose another name")
    return Machine(name=name, model=model, passport=_passport(site, found, system))


def record(site: Site, found: Found, machine: Machine) -> None:
    """Write a machine into machines.yml."""
    memory = f"; the rescue saw {found.facts.memory_mib} MiB" if found.facts.memory_mib else ""
    record_machine(site, machine, f"adopted {datetime.now(UTC):%Y-%m-%d}{memory}")


def refuse_failing(found: Found, machine: Machine) -> None:
    """Refuse a machine whose system disk says that it is failing, where nobody is there to decide."""
    for disk in machine.passport.system_disks:
        for seen in found.facts.disks_like(disk):
            if found.health(seen.name).shape is Shape.FAILING:
                raise Refused(
                    f"{seen.path} (serial {disk.serial}) would be the system disk, and says that it is failing",
                    evidence=str(found.health(seen.name)),
                    hint="choose another one with `--system SERIAL`, or decide it without `--yes`",
                )


def _passport(site: Site, found: Found, system: str | None) -> Passport:
    disks = built_in_disks(found.facts)
    if not disks:
        raise Refused(
            "this box shows no built-in disk with a serial",
            evidence="\n".join(str(disk) for disk in found.facts.disks) or "no disk at all",
            hint="a disk that is not shown may be hidden by the firmware's RAID mode: switch it to AHCI or NVMe",
        )
    if system is None and len(disks) > 1:
        raise Refused(
            f"this box has {len(disks)} disks: which of them may be flashed is not guessed",
            evidence="\n".join(str(disk) for disk in disks),
            hint=f"say it: `--system {disks[0].serial}`",
        )
    asked = dict.fromkeys(flag for host in site.hosts.values() for flag in host.needs.cpu_flags)
    return draft_passport(found.facts, found.inspection, system or disks[0].serial or "", asked)


@contextmanager
def _opened(site: Site) -> Iterator[tuple[SiteIdentity, Ssh]]:
    vault = Vault.of(site.root, name=site.name)
    if "rescue_public" not in vault.read([SITE]).get(SITE, {}):
        raise UsageError(
            f"site `{site.name}` has no rescue system yet: no stick was ever made of it",
            hint="write one with `provision usb write /dev/…`, and start the new machine from it",
        )
    identities = load_identities(vault, site.name, all_hosts=site.hosts.values(), keep=False)
    with opened(identities.credentials, {}, reach.door(site)) as ssh:
        yield identities.site, ssh


def _ours(identity: SiteIdentity, door: Door, asked: Sequence[str], emit: Emit) -> list[str]:
    """Those of the addresses that show the pinned key. A revoked one is told: a lost stick may be at work."""
    ours = []
    for address, key in shown_keys(door, asked).items():
        if key == identity.rescue.public:
            ours.append(address)
        elif day := retired_on(identity, key):
            text = f"{address} shows the key of a rescue stick that was revoked on {day}: it is not talked to"
            emit(Notice(level="warning", text=text))
    return ours


def _read(ssh: Ssh, address: str, site: Site, emit: Emit) -> Found | None:
    ssh.know(RESCUE, address)
    if (answer := ssh.answer(RESCUE)) is not Answer.OURS:
        emit(Notice(level="warning", text=f"{address} shows the rescue's key, but does not let us in: {answer}"))
        return None
    facts = understand(ask_facts(ssh), f"it answers at {address}")
    shown = ssh.run(RESCUE, "python3", "-", input=INSPECTION_SCRIPT.read_bytes(), deadline=300).stdout
    ssh.forget(RESCUE)
    try:
        inspection = Inspection.model_validate_json(shown)
    except ValidationError:
        emit(Notice(level="warning", text=f"{address}: what it says of its shape cannot be understood; it is left out"))
        inspection = Inspection()
    return Found(address, facts, inspection, recognise(site.machines.values(), facts))


def _nobody(site: Site, given: Sequence[str], asked: Sequence[str]) -> ProvisionError:
    where = (
        f"at {', '.join(given)}"
        if given
        else f"on {reach.link_of(site)} ({len(asked)} others were asked for their key)"
    )
    return ProvisionError(
        f"no rescue system of this site answers {where}",
        hint="start the new machine from the site's stick and wait for its screen, which shows its addresses; behind a "
        "router, name one: `--address ADDRESS`",
    )
