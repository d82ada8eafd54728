"""A passport for a box that nobody has described yet, from what it says in the rescue system. Pure: nothing is asked.

The draft is what `match` and `target` will compare with later, so it has to match the box that it was made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from homelab_provision.errors import Refused
from homelab_provision.machine.facts import MachineFacts, SeenDisk
from homelab_provision.machine.inspection import InspectedNic, Inspection
from homelab_provision.machine.match import compare, describe_box
from homelab_provision.machine.target import WRITABLE_TRANSPORTS
from homelab_provision.rescue.facts import same_serial
from homelab_provision.site.models import Machine, Passport
from homelab_provision.site.placeholders import is_placeholder, is_placeholder_uuid

# CPU features by which machines of a home differ; those that a host of the site asks for are looked for as well.
FEATURES = ("sse4_2", "aes", "avx", "avx2", "avx512f", "sha_ni", "vmx", "svm")
# How kinds of boxes are called whose product name says less; of others, the product name itself.
MODELS = {
    "Wyse 5070 Thin Client": "wyse5070",
    "Wyse 5070 Extended Thin Client": "wyse5070-extended",
    "Desktop (AMD Ryzen AI Max 300 Series)": "framework-desktop",
}
# Of the memory that is fitted, the kernel and the graphics keep some: 8013 MiB are 8 GiB, 128411 are 128 GiB.
MEMORY_KEPT = 0.1


def built_in_disks(facts: MachineFacts) -> tuple[SeenDisk, ...]:
    """The disks that a passport can name: those inside the box that have a serial of their own. (What hangs on USB is
    never written, and may be somewhere else tomorrow.)"""
    return tuple(
        disk
        for disk in facts.disks
        if disk.transport in WRITABLE_TRANSPORTS
        and not disk.boot_area
        and not disk.holds_rescue
        and disk.serial
        and not is_placeholder(disk.serial)
    )


def left_out(facts: MachineFacts, inspection: Inspection) -> tuple[str, ...]:
    """What a draft does not name of the box, and why."""
    named = built_in_disks(facts)
    told = []
    for disk in facts.disks:
        if disk.boot_area or disk in named:
            continue
        why = "it holds the rescue" if disk.holds_rescue else f"it hangs on {disk.transport}"
        told.append(f"{disk}: {why if disk.transport not in WRITABLE_TRANSPORTS or disk.holds_rescue else 'no serial'}")
    macs = _macs(facts, inspection)
    for nic in facts.nics:
        if nic.mac and nic.mac.lower() not in macs:
            told.append(f"{nic.name}  {nic.mac}: {'wireless' if _seen(inspection, nic.name).wireless else 'on USB'}")
    return tuple(told)


def draft_passport(facts: MachineFacts, inspection: Inspection, system: str, features: Iterable[str] = ()) -> Passport:
    """The passport of the box: the disk with the serial (or world-wide name) `system` may be flashed, all others are
    kept. Of disks with one serial only that one is named.

    `features` are CPU flags that somebody asks for. Raises Refused for a box that cannot be described.
    """
    disks = built_in_disks(facts)
    chosen = [disk for disk in disks if any(same_serial(name or "", system) for name in (disk.serial, disk.wwn))]
    if len(chosen) != 1:
        raise Refused(
            f"{len(chosen) or 'no'} built-in disks of this box have the serial {system}, expected one",
            evidence=describe_box(facts),
            hint="name one of those that are listed by its world-wide name"
            if chosen
            else "name one of those that are listed: `--system SERIAL`",
        )
    twins = [disk for disk in disks if disk is not chosen[0] and same_serial(disk.serial or "", chosen[0].serial or "")]
    written: dict[str, Any] = {
        **_identity(facts),
        "product": facts.dmi.product_name or None,
        "macs": _macs(facts, inspection),
        "firmware": facts.firmware,
        "memory_mib": fitted_memory(facts.memory_mib),
        "cores": facts.cpu.cores,
        "cpu_flags": [flag for flag in dict.fromkeys((*FEATURES, *features)) if flag in facts.cpu.flags],
        "disks": [_disk(disk, disk is chosen[0], wwn=bool(twins)) for disk in disks if disk not in twins],
    }
    try:
        passport = Passport.model_validate(written)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Refused(
            "no passport can be made of what this box says of itself",
            evidence=f"{'.'.join(map(str, first['loc']))}: expected {first['msg']}\n{describe_box(facts)}",
            hint="describe it by hand in machines.yml (docs/how-to/own-homelab.md)",
        ) from None
    if differences := compare(passport, facts):
        raise Refused(
            "a passport of this box would not match it again",
            evidence="\n".join(map(str, differences)),
            hint="two of its disks cannot be told apart: take one out, or describe the box by hand in machines.yml",
        )
    return passport


def fitted_memory(seen: int | None) -> int | None:
    """The memory that is fitted, in MiB, by what the kernel has of it: the next size that modules add up to, if it is
    near. (Firmware is no witness: of a real module of 32 GB, SMBIOS said 0 kB.)"""
    if seen is None or seen < 64:
        return None
    step = next((step for limit, step in ((2048, 256), (8192, 1024), (32768, 2048)) if seen <= limit), 4096)
    fitted = -(-seen // step) * step
    return fitted if fitted * (1 - MEMORY_KEPT) <= seen else seen


def kind_of(facts: MachineFacts, known: Iterable[Machine]) -> str | None:
    """What this kind of box is called: as the site calls others with that product name, or as its card is called."""
    product = facts.dmi.product_name
    if not product:
        return None
    return next((each.model for each in known if each.model and each.passport.product == product), None) or MODELS.get(
        product, re.sub(r"[^a-z0-9]+", "-", product.lower()).strip("-") or None
    )


def proposed_name(model: str | None, taken: Iterable[str]) -> str:
    """The first free name: as its likes are called (`wyse-3`), or after its kind."""
    names = set(taken)
    letters = re.match(r"[a-z]+", model or "")
    stem = letters[0] if letters else "machine"
    return next(name for name in (f"{stem}-{number}" for number in range(1, len(names) + 2)) if name not in names)


def _identity(facts: MachineFacts) -> dict[str, str]:
    """What tells the box from its likes: the first of these that is one."""
    dmi = facts.dmi
    for key, shown in (("serial", dmi.product_serial), ("board_serial", dmi.board_serial)):
        if shown and not is_placeholder(shown):
            return {key: shown}
    return {"uuid": dmi.product_uuid} if dmi.product_uuid and not is_placeholder_uuid(dmi.product_uuid) else {}


def _macs(facts: MachineFacts, inspection: Inspection) -> list[str]:
    """The wired cards that are built in; those on USB only if there is nothing else."""
    wired = [nic for nic in facts.nics if nic.mac and not _seen(inspection, nic.name).wireless]
    inside = [nic for nic in wired if not _seen(inspection, nic.name).usb]
    return [nic.mac.lower() for nic in inside or wired if nic.mac]


def _seen(inspection: Inspection, name: str) -> InspectedNic:
    return inspection.nics.get(name) or InspectedNic(wireless=name.startswith("wl"))


def _disk(disk: SeenDisk, system: bool, *, wwn: bool) -> Mapping[str, Any]:
    return {
        "serial": disk.serial,
        "wwn": disk.wwn if system and wwn else None,
        "size": disk.size_bytes,
        "use": "system" if system else "keep",
        "model": disk.model or None,
    }
