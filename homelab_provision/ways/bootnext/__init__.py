"""The way `bootnext`: a machine whose Linux still answers is told to start the rescue, once.

The rescue lies on its EFI system partition for that, beside the old system, and the firmware is told to take it at the
next start alone (BootNext, UEFI specification 3.3). Whatever goes wrong with it, the start after that is the old
system.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homelab_provision.events import Emit
from homelab_provision.identity.identities import SiteIdentity
from homelab_provision.image.esp import NET_LOADER
from homelab_provision.image.medium import KERNEL_COMMAND_LINE, RESCUE_LABEL
from homelab_provision.image.rescue import Rescue
from homelab_provision.operators import Operator
from homelab_provision.site.models import Firmware, Machine
from homelab_provision.ways import Medium, Served, Start, _living, personal, rescue_id

# On the EFI system partition. The GRUB for the network has its configuration elsewhere than that for disks: the old
# system's stays as it is.
FOLDER, CONFIG = "EFI/hlp-rescue", "grub/grub.cfg"
LOADER = "\\EFI\\hlp-rescue\\shimx64.efi"
STAGE = Path(__file__).with_name("stage")
GRUB_CONFIG = f"""\
# Written by homelab-provision: the rescue, for one start.
linux /{FOLDER}/vmlinuz {KERNEL_COMMAND_LINE}
initrd /{FOLDER}/rescue.img /{FOLDER}/site.img
boot
echo "The rescue system could not be started; trying the next boot device."
sleep 10
exit
"""
OTHERWISE = "if its rescue does not start, switch it off and on: it starts what it started before"


class BootNext:
    """The way `bootnext`."""

    rank = 10

    def objection(self, machine: Machine, answers: bool) -> str | None:
        if machine.passport.firmware is not Firmware.UEFI:
            return f"its firmware is {machine.passport.firmware}, and only UEFI can be told what to start once"
        return None if answers else _living.NOBODY

    def prepare(self, site: str, identity: SiteIdentity, rescue: Rescue, emit: Emit) -> Medium:
        return Medium(rescue_id=rescue_id(site, identity, rescue, "bootnext"), path=rescue.directory)

    @contextmanager
    def serving(self, start: Start) -> Iterator[Served]:
        key = _living.new_host_key()
        with _living.taken_back(start, staging("clear")):
            stage(start, contents(start.rescue, personal(start.identity, key, start.medium.rescue_id)))
            _living.restart(start, "systemctl reboot || reboot")
            yield _living.Brought(key.public, OTHERWISE)

    def leave(self, operator: Operator, machine: Machine) -> None:
        """Nothing to do: the disk is written anew, and the writer takes the entry out of the firmware. Where the old
        system was on another disk, its key for one start is good for nothing any more."""


WAY = BootNext()


def contents(rescue: Rescue, site: bytes) -> dict[str, bytes | Path]:
    """What goes onto the EFI system partition, by its name there; `site` is what makes the rescue this site's."""
    [net_loader] = NET_LOADER
    return {
        f"{FOLDER}/shimx64.efi": rescue.directory / "BOOTX64.EFI",
        f"{FOLDER}/mmx64.efi": rescue.directory / "mmx64.efi",
        f"{FOLDER}/grubx64.efi": rescue.directory / net_loader,
        f"{FOLDER}/vmlinuz": rescue.kernel,
        f"{FOLDER}/rescue.img": rescue.initrd,
        f"{FOLDER}/site.img": site,
        CONFIG: GRUB_CONFIG.encode(),
    }


def stage(start: Start, files: dict[str, bytes | Path]) -> None:
    """Lay them there, and tell the firmware."""
    archive = _living.packed(files)
    _living.hand_over(start, staging("lay", LOADER, str(len(archive))), archive)


def staging(task: str, *more: str) -> list[str]:
    """The words that have the old system `lay` what it is given, or `clear` it away."""
    return ["sh", "-c", STAGE.read_text(), STAGE.name, task, RESCUE_LABEL, FOLDER, CONFIG, *more]
