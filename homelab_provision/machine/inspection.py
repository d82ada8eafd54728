"""The shape a machine is in: `rescue/inspection.py` prints it. Nothing is decided by it but what a person is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

# Of the attributes of an ATA disk those whose raw value counts sectors that went bad, and what that says.
BAD_SECTORS = {5: "reallocated", 197: "pending", 198: "uncorrectable"}
# JEDEC's eMMC 5.0, as the kernel shows it (mmc-dev-attrs): the life time that is used up, in tenths; the reserve.
PRE_END = {1: "normal", 2: "80 % of its reserve is used", 3: "its reserve is nearly gone"}


class _Inspected(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class InspectedDisk(_Inspected):
    """`smartctl`: its JSON, whole. `problem`: why there is none. An eMMC has `life_time` and `pre_eol_info` instead."""

    smartctl: Mapping[str, Any] | None = None
    problem: str | None = None
    life_time: str | None = None
    pre_eol_info: str | None = None


class InspectedNic(_Inspected):
    usb: bool = False
    wireless: bool = False
    carrier: bool | None = None
    speed_mbit: int | None = None
    wakeup: str | None = None


class BootEntry(_Inspected):
    """`network`: `pxe` or `http`, if it is the network that it starts from."""

    number: str
    label: str
    active: bool
    network: str | None = None


class Inspection(_Inspected):
    """What a box says of its shape in the rescue system (`rescue/inspection.py` prints it)."""

    disks: Mapping[str, InspectedDisk] = {}
    nics: Mapping[str, InspectedNic] = {}
    boot_entries: tuple[BootEntry, ...] = ()
    watchdogs: tuple[str, ...] = ()
    kexec: bool | None = None
    """Whether the kernel of the rescue would take another one; it says nothing about whether the box survives it."""
    tpm: str | None = None


class Shape(StrEnum):
    GOOD = "good"
    FAILING = "failing"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Health:
    """How a disk is, by its own account."""

    shape: Shape
    details: str = ""

    def __str__(self) -> str:
        return f"health {self.shape}{f' ({self.details})' if self.details else ''}"


def health(disk: InspectedDisk | None) -> Health:
    """What a disk says of itself; nothing is guessed where it says nothing."""
    if disk is None:
        return Health(Shape.UNKNOWN, "nobody asked it")
    if disk.life_time or disk.pre_eol_info:
        return _of_emmc(disk)
    if disk.smartctl is None:
        return Health(Shape.UNKNOWN, disk.problem or "nobody asked it")
    return _of_smart(disk.smartctl)


def _of_smart(said: Mapping[str, Any]) -> Health:
    passed = _at(said, "smart_status", "passed")
    log = _at(said, "nvme_smart_health_information_log")
    table = _at(said, "ata_smart_attributes", "table")
    raw = {each.get("id"): _at(each, "raw", "value") for each in table or () if isinstance(each, Mapping)}
    facts = [f"{raw[number]} {word} sectors" for number, word in BAD_SECTORS.items() if raw.get(number)]
    if errors := _at(log, "media_errors"):
        facts.append(f"{errors} media errors")
    if (used := _at(log, "percentage_used")) is not None:
        facts.append(f"{used} % of its life used")
    if (hours := _at(said, "power_on_time", "hours")) is not None:
        facts.append(f"{hours} hours on")
    if passed is None:
        messages = _at(said, "smartctl", "messages") or ()
        why = [str(each.get("string")) for each in messages if isinstance(each, Mapping)]
        return Health(Shape.UNKNOWN, "; ".join([*why, *facts]) or "it says nothing of it")
    shape = Shape.GOOD if passed is True and not _at(log, "critical_warning") else Shape.FAILING
    return Health(shape, ", ".join(facts))


def _of_emmc(disk: InspectedDisk) -> Health:
    lives = [int(word, 16) for word in (disk.life_time or "").split() if _is_hex(word)]
    reserve = next((int(word, 16) for word in (disk.pre_eol_info or "").split() if _is_hex(word)), 0)
    worst = max(lives, default=0)
    if not worst and reserve not in PRE_END:
        return Health(Shape.UNKNOWN, "the eMMC does not say")
    facts = (
        [f"up to {min(worst * 10, 100)} % of its life used" if worst <= 10 else "its life is used up"] if worst else []
    )
    facts += [f"reserve: {PRE_END[reserve]}"] if reserve in PRE_END else []
    return Health(Shape.FAILING if worst > 10 or reserve == 3 else Shape.GOOD, ", ".join(facts))


def _is_hex(text: str) -> bool:
    try:
        int(text, 16)
    except ValueError:
        return False
    return True


def _at(said: object, *keys: str) -> Any:
    for key in keys:
        said = said.get(key) if isinstance(said, Mapping) else None
    return said
