"""The way `kexec`: the kernel of a machine whose Linux still answers starts the rescue in its own place.

No firmware is asked, so this is the quickest, and there are boxes that hang with a black screen until their power is
cut (fedora-coreos-tracker #2071: Intel N5105). So it is for machines of which machines.yml says that they survive it.
Their disks are what they were: after the power was cut, the old system starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homelab_provision.events import Emit
from homelab_provision.identity.identities import SiteIdentity
from homelab_provision.image.medium import KERNEL_COMMAND_LINE
from homelab_provision.image.rescue import Rescue
from homelab_provision.operators import Operator
from homelab_provision.site.models import Machine
from homelab_provision.ways import Medium, Served, Start, _living, personal, rescue_id
from homelab_provision.ways.kexec.load import INITRD, KERNEL

LOAD = Path(__file__).with_name("load.py")
OTHERWISE = "if its screen stays black, cut its power: it starts what it started before. `kexec` is no way for it then"


class Kexec:
    """The way `kexec`."""

    rank = 30

    def objection(self, machine: Machine, answers: bool) -> str | None:
        if not machine.survives_kexec:
            return "machines.yml does not say of it `survives_kexec: true`, and there are machines that do not"
        return None if answers else _living.NOBODY

    def prepare(self, site: str, identity: SiteIdentity, rescue: Rescue, emit: Emit) -> Medium:
        return Medium(rescue_id=rescue_id(site, identity, rescue, "kexec"), path=rescue.directory)

    @contextmanager
    def serving(self, start: Start) -> Iterator[Served]:
        key = _living.new_host_key()
        files: dict[str, bytes | Path] = {
            KERNEL: start.rescue.kernel,
            INITRD: joined(start.rescue.initrd.read_bytes(), personal(start.identity, key, start.medium.rescue_id)),
        }
        program = ["python3", "-I", "-c", LOAD.read_text()]
        with _living.taken_back(start, program):
            _living.hand_over(start, [*program, KERNEL_COMMAND_LINE], _living.packed(files))
            _living.restart(start, "systemctl kexec")
            yield _living.Brought(key.public, OTHERWISE)

    def leave(self, operator: Operator, machine: Machine) -> None:
        """Nothing is left: what was loaded was the old system's memory."""


WAY = Kexec()


def joined(*archives: bytes) -> bytes:
    """Several initramfs archives as one: each begins at a multiple of four bytes (the kernel's early-userspace)."""
    return b"".join(archive + bytes(-len(archive) % 4) for archive in archives)
