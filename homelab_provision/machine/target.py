"""Which disk may be written. Nothing is touched here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from homelab_provision.errors import Refused
from homelab_provision.machine.disk_content import content, is_own_layout, may_go_on
from homelab_provision.machine.facts import MachineFacts, SeenDisk
from homelab_provision.machine.match import hidden_disks, namesakes
from homelab_provision.rescue.facts import same_serial
from homelab_provision.site.models import Disk, Passport
from homelab_provision.site.sizes import format_size

# ESP, a root that a small image fits into, and something left for the data.
MINIMUM_TARGET_BYTES = 6 * 10**9
# USB is never written: an external disk may be anybody's, and it may call itself sda and not removable.
WRITABLE_TRANSPORTS = frozenset({"sata", "nvme", "mmc", "virtio"})
# The writer and the image's ESP count in these.
SECTOR_BYTES = 512


class Allowance(StrEnum):
    """Why a disk may be written."""

    BLANK = "blank"
    OWN_LAYOUT = "own layout"
    UNFINISHED = "own unfinished write"
    PASSPORT = "declared in the passport"
    OPTION = "--erase"


@dataclass(frozen=True)
class Target:
    """The one disk that may be written. `content` tells, line by line, what will be gone.

    `serial` and `wwn` are letter by letter what the rescue read, so that the writer finds what was seen here.
    """

    name: str
    path: str
    serial: str
    wwn: str | None
    size_bytes: int
    model: str | None
    transport: str
    own_layout: bool
    content: tuple[str, ...]
    allowed_by: Allowance


def choose_target(
    passport: Passport,
    facts: MachineFacts,
    erase: frozenset[str] = frozenset(),
    minimum_bytes: int = MINIMUM_TARGET_BYTES,
    *,
    run: str | None = None,
    keep_data: bool = False,
) -> Target:
    """The disk of the box that is the passport's system disk, if it may be written.

    `erase` holds the serials that the user gave up with `--erase`; `run` is the run that asks, which may go on with
    what it began, and `keep_data` whether it leaves the data partition alone. Raises Refused with what was expected,
    what was found and what to do, whenever there is a doubt.
    """
    desired, current = _the_one(passport, facts)
    _refuse_unfit(current, minimum_bytes)
    _refuse_stray_erase(desired, facts, erase)
    own, foreign = is_own_layout(current), tuple(dict.fromkeys(content(current)))
    if own:
        allowed = Allowance.OWN_LAYOUT
    elif may_go_on(current, run, keep_data=keep_data):
        allowed = Allowance.UNFINISHED
    elif not foreign:
        allowed = Allowance.BLANK
    elif desired.erase:
        allowed = Allowance.PASSPORT
    elif any(same_serial(serial, desired.serial) for serial in erase):
        allowed = Allowance.OPTION
    else:
        raise Refused(
            f"{_about(current)} is the right disk, but it is not empty; nothing was written",
            evidence="\n".join(["on it:", *(f"  {line}" for line in foreign)]),
            hint=_go_on_or_erase(current, desired),
        )
    return Target(
        name=current.name,
        path=current.path,
        serial=current.serial or desired.serial,
        wwn=current.wwn,
        size_bytes=current.size_bytes,
        model=current.model,
        transport=current.transport,
        own_layout=own,
        content=foreign,
        allowed_by=allowed,
    )


def _go_on_or_erase(current: SeenDisk, desired: Disk) -> str:
    erase = f"if all of this may go, say `--erase {desired.serial}`"
    if current.unfinished and current.unfinished.alone:
        resume = f"provision rebuild {current.unfinished.host} --resume"
        return f"`{resume}` goes on with it, and so does a new rebuild with `--keep-data`; {erase}"
    return erase


def _the_one(passport: Passport, facts: MachineFacts) -> tuple[Disk, SeenDisk]:
    """The only pair of a system disk of the passport and a disk of the box. Raises Refused."""
    pairs = [(disk, current) for disk in passport.system_disks for current in facts.disks_like(disk)]
    wanted = " or ".join(
        ", ".join(filter(None, (disk.serial, disk.wwn))) + f" ({disk.size})" for disk in passport.system_disks
    )
    if not pairs:
        raise Refused(
            f"no disk of this box is the system disk of its passport, {wanted or '(it names none)'}; "
            "nothing was written",
            evidence=_all_disks(facts),
            hint=hidden_disks(facts, passport)
            or "if the disk was replaced, write its serial and size into machines.yml",
        )
    if len(pairs) > 1:
        names = ", ".join(current.path for _, current in pairs)
        raise Refused(
            f"{len(pairs)} disks match the passport ({names}), expected one: {wanted}; nothing was written",
            evidence=_all_disks(facts),
            hint=namesakes(facts, passport)
            or "unplug the one that is not meant (USB bridges repeat serials), or mark it `use: keep`",
        )
    disk, current = pairs[0]
    if not disk.size.matches(current.size_bytes):
        raise Refused(
            f"{current.path} has the serial {disk.serial}, but not its size: expected {disk.size}, found "
            f"{format_size(current.size_bytes)} ({current.size_bytes} bytes); nothing was written",
            evidence=_all_disks(facts),
            hint="correct the passport in machines.yml if this is the disk",
        )
    return disk, current


def _refuse_unfit(current: SeenDisk, minimum_bytes: int) -> None:
    """Refuse a disk that must never be written, whoever says so."""
    disk = _about(current)
    if current.transport == "usb":
        raise Refused(
            f"{disk} hangs on USB, and a USB disk is never written by a rebuild",
            hint="name the built-in disk as `use: system` in the passport",
        )
    if current.transport not in WRITABLE_TRANSPORTS:
        raise Refused(
            f"{disk} hangs on `{current.transport}`: it cannot be told whether it is a built-in disk; "
            "nothing was written",
            hint=f"disks that can be written hang on {', '.join(sorted(WRITABLE_TRANSPORTS))}",
        )
    if current.sector_bytes != SECTOR_BYTES:
        raise Refused(
            f"{disk} has sectors of {current.sector_bytes} bytes, the image is made for sectors of {SECTOR_BYTES}; "
            "nothing was written",
            hint="many such disks can be switched to 512 bytes, which erases them: `nvme id-ns -H` shows the formats "
            "of an NVMe disk and `nvme format --lbaf=N` chooses one; `hdparm --set-sector-size 512` is for SATA",
        )
    if current.holds_rescue:
        raise Refused(
            f"{disk} holds the rescue system that is running; nothing was written",
            hint="boot the rescue from the stick",
        )
    if current.error:
        raise Refused(
            f"{disk} could not be examined, so nobody knows what is on it; nothing was written",
            evidence=current.error,
            hint="is the disk broken? its log is in `dmesg` of the rescue system",
        )
    if current.read_only:
        raise Refused(f"{disk} is write-protected", hint="a failing disk locks itself; an SD card has a switch")
    if current.size_bytes < minimum_bytes:
        raise Refused(
            f"{disk} is too small: at least {format_size(minimum_bytes)} are needed; nothing was written",
            hint="give the machine a larger system disk",
        )


def _refuse_stray_erase(desired: Disk, facts: MachineFacts, erase: frozenset[str]) -> None:
    """`--erase` for another disk than the target shows that somebody is mistaken about this box."""
    strays = sorted(serial for serial in erase if not same_serial(serial, desired.serial))
    if strays:
        raise Refused(
            f"`--erase {strays[0]}` does not name the disk that would be written, {desired.serial}; "
            "nothing was written",
            evidence=_all_disks(facts),
            hint=f"say `--erase {desired.serial}` if that disk may be erased",
        )


def _about(disk: SeenDisk) -> str:
    known = ", ".join(part for part in (disk.transport, format_size(disk.size_bytes), disk.model, disk.serial) if part)
    return f"{disk.path} ({known})"


def _all_disks(facts: MachineFacts) -> str:
    lines = [f"  {disk}" for disk in facts.disks if not disk.boot_area]
    return "\n".join(["disks of this box:", *(lines or ["  none"])])
