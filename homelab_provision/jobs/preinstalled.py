"""A virtual machine that already plays its host: the old box of the story, there to be lost.

The system is put onto the machine's disk from the outside, without booting anything and without a mount:
the image is laid out in the disk's file, and debugfs writes the host's identity into its root.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from homelab_provision.doors.process import run
from homelab_provision.doors.ssh import Answer
from homelab_provision.errors import ProvisionError, UsageError
from homelab_provision.events import Emit, step, waiting
from homelab_provision.files import scratch
from homelab_provision.identity.seed import File, files
from homelab_provision.image.host_image import image_of
from homelab_provision.image.image import Image
from homelab_provision.image.layout import Layout
from homelab_provision.image.raw import assemble_raw
from homelab_provision.lab.machine import VirtualMachine
from homelab_provision.lab.reach import lab_of
from homelab_provision.paths import folders_above
from homelab_provision.phases.session import Session, session

DEADLINE = 300.0


def preinstall(site_dir: Path, machine_name: str, emit: Emit) -> None:
    """Make the machine play its host, switch it on and wait until the host answers."""
    with session(site_dir) as opened:
        machine = opened.site.machine(machine_name)
        if machine.plays is None or machine.lab is None:
            raise UsageError(
                f"`{machine_name}` is not a machine of the lab that plays a host",
                hint="`provision machines list` shows who plays what",
            )
        host = opened.site.host(machine.plays)
        image = image_of(host, emit)
        lab = lab_of(opened.site, emit)
        lab.up()
        virtual = lab.machine(machine.name)
        virtual.power_off()
        virtual.make_disks()
        content = files(
            host,
            opened.identities.hosts[host.name],
            opened.identities.site,
            mac=machine.passport.macs[0],
            release={"host": host.name, "run": "preinstalled", "nonce": secrets.token_hex(16)},
        )
        serials = {disk.serial for disk in machine.passport.system_disks}
        system = next(disk for disk in machine.lab.disks if disk.serial in serials)
        with step(emit, f"write {host.name} onto {machine.name}"):
            install(image, virtual.disk_path(system.name), system.capacity, content)
        _start(opened, virtual, host.name, emit)


def switch_on(site_dir: Path, machine_name: str, emit: Emit) -> None:
    """Switch a machine on, and wait for the host that it plays, if it plays one."""
    with session(site_dir) as opened:
        machine = opened.site.machine(machine_name)
        lab = lab_of(opened.site, emit)
        lab.up()
        virtual = lab.machine(machine.name)
        if machine.plays:
            _start(opened, virtual, machine.plays, emit)
        elif not virtual.is_on():
            virtual.power_on()


def _start(opened: Session, virtual: VirtualMachine, host: str, emit: Emit) -> None:
    if not virtual.is_on():
        virtual.power_on()
    name = f"wait for {host}"
    with step(emit, name):
        if opened.ssh.wait(host, deadline=DEADLINE, on_wait=waiting(emit, name, DEADLINE)) is not Answer.OURS:
            raise ProvisionError(f"{host} did not come up on {virtual.name}", evidence=virtual.console_tail())


def install(image: Image, disk: Path, disk_bytes: int, files: Mapping[str, File]) -> Layout:
    """Write `image` with `files`, and an empty data file system, into the raw disk file of a machine that is off."""
    layout = assemble_raw(image, disk, disk_bytes)
    data = layout.data
    run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-L", data.name, "-m", "1", "-O", "quota,project",
         "-E", f"offset={data.offset_bytes},nodiscard,quotatype=prjquota", disk, f"{data.size_bytes // 1024}k"],
        deadline=120,
    )  # fmt: skip
    root = f"{disk}?offset={layout.root.offset_bytes}"
    with scratch() as folder:  # a private key passes through it
        run(["debugfs", "-w", "-f", "-", root], deadline=120, input=_script(files, folder))
    # debugfs ends well whatever happened (and a directory that was there is a complaint): read it all back.
    shown = run(["debugfs", "-f", "-", root], deadline=120, input="".join(f"cat /{path}\n" for path in sorted(files)))
    written = "".join(line for line in shown.stdout.splitlines(True) if not line.startswith("debugfs: cat "))
    if written != "".join(files[path].text for path in sorted(files)):
        raise ProvisionError(f"could not write the host's identity into {disk}", evidence=shown.stderr)
    return layout


def _script(files: Mapping[str, File], folder: Path) -> str:
    """The commands for debugfs; the contents of the files are put into `folder`."""
    lines = [f"mkdir /{place}" for place in folders_above(files)]
    for number, (path, file) in enumerate(sorted(files.items())):
        source = folder / str(number)
        source.write_text(file.text)
        lines += [f"rm /{path}", f"write {source} /{path}", f"sif /{path} mode 0100{file.mode:03o}"]
    return "\n".join(lines) + "\n"
