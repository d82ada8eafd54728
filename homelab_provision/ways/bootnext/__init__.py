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
from homelab_provision.identity.identities import SiteIdentity, new_key
from homelab_provision.image.esp import NET_LOADER
from homelab_provision.image.medium import KERNEL_COMMAND_LINE, RESCUE_LABEL
from homelab_provision.image.rescue import Rescue
from homelab_provision.operators import Operator
from homelab_provision.site.models import Machine
from homelab_provision.ways import Medium, Served, Start, _living

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
        return None if answers else _living.NOBODY

    def prepare(self, site: str, identity: SiteIdentity, rescue: Rescue, emit: Emit) -> Medium:
        return _living.medium("bootnext", site, identity, rescue)

    @contextmanager
    def serving(self, start: Start) -> Iterator[Served]:
        key = new_key("rescue")
        stage(start, contents(start.rescue, _living.personal(start, key)))
        _living.restart(start, "systemctl reboot || reboot")
        yield _living.Brought(key.public, OTHERWISE)

    def leave(self, operator: Operator, machine: Machine) -> None:
        """Nothing to do: the disk is written anew, and the writer takes the entry out of the firmware."""


WAY = BootNext()


def contents(rescue: Rescue, personal: bytes) -> dict[str, bytes | Path]:
    """What goes onto the EFI system partition, by its name there."""
    [net_loader] = NET_LOADER
    return {
        f"{FOLDER}/shimx64.efi": rescue.directory / "BOOTX64.EFI",
        f"{FOLDER}/mmx64.efi": rescue.directory / "mmx64.efi",
        f"{FOLDER}/grubx64.efi": rescue.directory / net_loader,
        f"{FOLDER}/vmlinuz": rescue.kernel,
        f"{FOLDER}/rescue.img": rescue.initrd,
        f"{FOLDER}/site.img": personal,
        CONFIG: GRUB_CONFIG.encode(),
    }


def stage(start: Start, files: dict[str, bytes | Path]) -> None:
    """Lay them there, and tell the firmware."""
    archive = _living.packed(files)
    words = ["sh", "-c", STAGE.read_text(), "stage", RESCUE_LABEL, FOLDER, CONFIG, LOADER, str(len(archive))]
    _living.hand_over(start, words, archive)
