"""The way `bootnext`: a machine whose Linux still answers is told to start the rescue, once.

The rescue lies on its EFI system partition for that, beside the old system, and the firmware is told to take it at the
next start alone (BootNext, UEFI specification 3.3). Whatever goes wrong with it, the start after that is the old
system.

The old system's disk is no place for the site's rescue key: what lies there has a key of its own, made for this run.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.doors.ssh import Ssh
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Emit
from homelab_provision.identity.identities import SiteIdentity, new_key
from homelab_provision.image import medium as media
from homelab_provision.image.esp import NET_LOADER
from homelab_provision.image.image import SHORT
from homelab_provision.image.rescue import Rescue
from homelab_provision.operators import Operator
from homelab_provision.rescue.writer import RESCUE_LABEL
from homelab_provision.site.models import Machine
from homelab_provision.ways import DEADMAN_SECONDS, Medium, Served, Start

# On the EFI system partition. The GRUB for the network has its configuration elsewhere than that for disks: the old
# system's stays as it is.
FOLDER, CONFIG = "EFI/hlp-rescue", "grub/grub.cfg"
LOADER = "\\EFI\\hlp-rescue\\shimx64.efi"
STAGE = Path(__file__).with_name("stage")
DEADLINE = 300.0
GRUB_CONFIG = f"""\
# Written by homelab-provision: the rescue, for one start.
linux /{FOLDER}/vmlinuz {media.KERNEL_COMMAND_LINE}
initrd /{FOLDER}/rescue.img /{FOLDER}/site.img
boot
echo "The rescue system could not be started; trying the next boot device."
sleep 10
exit
"""
RESTART = "sync; (sleep 0.5; systemctl reboot || reboot) </dev/null >/dev/null 2>&1 &"


@dataclass(frozen=True)
class Staged:
    """It shows the key that was made for it, and tells nobody how far it has come."""

    public: str

    def host_key(self) -> str:
        return self.public

    def progress(self) -> str:
        return "if its rescue does not start, switch it off and on: it starts what it started before"


class BootNext:
    """The way `bootnext`."""

    def objection(self, machine: Machine, answers: bool) -> str | None:
        return None if answers else "only a system that is on it and lets us in can prepare that, and none answers"

    def prepare(self, site: str, identity: SiteIdentity, rescue: Rescue, emit: Emit) -> Medium:
        seed = "\n".join([rescue.digest, identity.controller.public, "bootnext", str(DEADMAN_SECONDS)])
        return Medium(rescue_id=f"{site}-{hashlib.sha256(seed.encode()).hexdigest()[:SHORT]}", path=rescue.directory)

    @contextmanager
    def serving(self, start: Start) -> Iterator[Served]:
        key = new_key("rescue")
        personal = media.personalisation(
            f"{start.identity.controller.public} homelab-provision\n",
            media.HostKey(key.private, key.public),
            start.medium.rescue_id,
            DEADMAN_SECONDS,
        )
        stage(start.ssh, start.system, start.machine, contents(start.rescue, personal))
        start.ssh.run(start.system, "sh", "-c", RESTART, deadline=20, check=False)
        start.ssh.forget(start.system)
        yield Staged(key.public)

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


def packed(files: Mapping[str, bytes | Path]) -> bytes:
    """The files as a tar archive."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def stage(ssh: Ssh, system: str, machine: Machine, files: Mapping[str, bytes | Path]) -> None:
    archive = packed(files)
    words = ["sh", "-c", STAGE.read_text(), "stage", RESCUE_LABEL, FOLDER, CONFIG, LOADER, str(len(archive))]
    done = ssh.run(system, *words, deadline=DEADLINE, input=archive, check=False)
    if done.returncode != 0:
        raise ProvisionError(
            f"{machine.name} cannot be told to start the rescue: {done.stderr.strip() or 'nobody said why'}",
            hint="nothing was changed that it starts from. Another way does: --way usb, --way netboot",
        )
