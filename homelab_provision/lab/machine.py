"""A virtual machine at run time: its power, its stick, its cable, its console.

Everything of a machine lies in one folder:

    disks/<disk>.raw      the disks, raw and sparse
    variables.fd          the firmware's memory (boot entries, Secure Boot keys)
    qemu.pid              who runs it
    qmp.sock console.sock while it runs
    logs/<moment>.log     what its serial port said, one file per power-on
    console.log           a link to the newest of them
"""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from homelab_provision import files
from homelab_provision.doors.process import run
from homelab_provision.errors import ProvisionError
from homelab_provision.lab.disks import digest, make_disk
from homelab_provision.lab.netns import namespace_exists
from homelab_provision.lab.network import tap_name
from homelab_provision.lab.pidfile import Daemon
from homelab_provision.lab.qemu import (
    CONSOLE_SOCKET,
    NIC,
    QMP_SOCKET,
    STICK,
    Accel,
    Launch,
    block_node,
    build_argv,
    find_firmware,
    node,
    stick_device,
)
from homelab_provision.lab.qmp import Qmp, QmpError
from homelab_provision.lab.sudo import Privilege
from homelab_provision.site.virtual import LabMachine

_START_SECONDS = 60.0
_UNPLUG_SECONDS = 20.0
_POLL_SECONDS = 0.1


class VirtualMachine:
    """One machine of the lab. State lives in its folder and in the kernel, none in this object."""

    def __init__(self, name: str, hardware: LabMachine, folder: Path, namespace: str, accel: Accel) -> None:
        self.name, self.hardware, self.folder = name, hardware, folder.absolute()
        self._namespace, self._accel = namespace, accel
        self._pidfile = self.folder / "qemu.pid"
        self._qemu = Daemon(self._pidfile, str(self._pidfile))

    # Power

    def is_on(self) -> bool:
        """Whether its QEMU runs."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """The process of its QEMU; `None` while it is off, also when another process has inherited the number."""
        return self._qemu.pid

    def power_on(
        self, stick: Path | None = None, *, boot_from_network: bool = False, console_log: Path | None = None
    ) -> None:
        """Switch it on, with `stick` (an image file, never written to) in its USB port.

        With `boot_from_network` its firmware asks there first, this once, as after F12 on a Dell: when the machine
        restarts, it starts from its disk. The serial console goes to `console_log` (appended) or a new file under
        `logs/`. Missing disks are made.
        """
        if self.is_on():
            raise ProvisionError(f"the virtual machine {self.name} is already on")
        if stick and not stick.is_file():
            raise ProvisionError(f"there is no stick image at {stick}", hint="make one with `provision usb write`")
        if not namespace_exists(self._namespace):
            raise ProvisionError(f"the lab {self._namespace} is not up", hint="start it with `provision lab up`")
        self.make_disks()
        self._remove_remains()
        launch = Launch(
            guest=f"{self._namespace}/{self.name}",
            firmware_code=find_firmware(self.hardware.secure_boot).code,
            firmware_variables=self._variables(),
            disks={disk.name: self.disk_path(disk.name) for disk in self.hardware.disks},
            tap=tap_name(self.name),
            pidfile=self._pidfile,
            console_log=self._new_log(console_log),
            accel=self._accel,
            stick=stick.absolute() if stick else None,
            boot_from_network=boot_from_network,
        )
        argv = Privilege.current().inside_as_user(self._namespace, *build_argv(self.hardware, launch))
        run(argv, deadline=_START_SECONDS, cwd=self.folder)
        if boot_from_network:
            # QEMU tells the firmware anew at each reset: the order of this start is out already.
            self._tell("qom-set", {"path": f"/machine/peripheral/{NIC}", "property": "bootindex", "value": -1})

    def power_off(self) -> None:
        """Cut the power: QEMU is killed, and gone when this returns. Nothing happens to a machine that is off."""
        self._qemu.kill()
        self._remove_remains()

    def reset(self) -> None:
        """Press the reset button."""
        self._tell("system_reset")

    # What is plugged in

    def stick(self) -> Path | None:
        """The image of the stick in its USB port, if it is on and has one."""
        if not self.is_on():
            return None
        with self._qmp() as qmp:
            for block in qmp.execute("query-named-block-nodes", {"flat": True}):
                if block.get("node-name") == STICK:
                    return Path(block["file"])
        return None

    def insert_stick(self, stick: Path) -> None:
        """Plug a stick into the running machine; its firmware prefers it at the next start."""
        with self._qmp() as qmp:
            qmp.execute("blockdev-add", block_node(STICK, stick.absolute(), read_only=True))
            try:
                qmp.execute("device_add", stick_device())
            except QmpError:
                qmp.execute("blockdev-del", {"node-name": STICK})
                raise

    def remove_stick(self) -> None:
        """Pull the stick out of the running machine. Nothing happens if there is none."""
        if self.stick() is None:
            return
        with self._qmp() as qmp:
            qmp.execute("device_del", {"id": STICK})
            qmp.wait_event("DEVICE_DELETED", _UNPLUG_SECONDS, device=STICK)
            qmp.execute("blockdev-del", {"node-name": STICK})

    def set_link(self, up: bool) -> None:
        """Plug the network cable in, or pull it."""
        self._tell("set_link", {"name": NIC, "up": up})

    # Disks

    def disk_path(self, disk: str) -> Path:
        """The file behind a disk."""
        return self.folder / "disks" / f"{self.hardware.disk(disk).name}.raw"

    def make_disks(self) -> None:
        """Make the disks that do not exist yet."""
        for disk in self.hardware.disks:
            make_disk(disk, self.disk_path(disk.name))

    def wipe(self) -> None:
        """Forget the disks and the firmware's variables: the machine is as new. It must be off."""
        if self.is_on():
            raise ProvisionError(f"the virtual machine {self.name} is on; its disks cannot be taken away")
        shutil.rmtree(self.folder / "disks", ignore_errors=True)
        (self.folder / "variables.fd").unlink(missing_ok=True)

    def digest(self, disk: str) -> str:
        """What stands on a disk, as a hash; for comparing before and after."""
        return digest(self.disk_path(disk))

    def bytes_written(self, disk: str) -> int:
        """How many bytes the machine has written to `disk` since it was switched on."""
        with self._qmp() as qmp:
            return _bytes_written(qmp, disk)

    def power_cut_after(self, disk: str, written: int, deadline: float) -> int:
        """Wait until `written` more bytes went to `disk`, then cut the power; returns how many it were.

        Raises `ProvisionError` if that does not happen within `deadline` seconds; the machine then stays on.
        """
        until = time.monotonic() + deadline
        with self._qmp() as qmp:
            start = _bytes_written(qmp, disk)
            while (progress := _bytes_written(qmp, disk) - start) < written:
                if time.monotonic() > until:
                    raise ProvisionError(f"{self.name} wrote only {progress} of {written} bytes to {disk} in time")
                time.sleep(_POLL_SECONDS / 2)
        self.power_off()
        return progress

    # Console

    @property
    def console_log(self) -> Path:
        """What the serial port said since the last power-on; the file may not exist before the first."""
        return (self.folder / "console.log").resolve()

    @property
    def console_socket(self) -> Path:
        """Where to talk to the serial port of the running machine (see `console.attach`)."""
        return self.folder / CONSOLE_SOCKET

    def console_tail(self, lines: int = 20) -> str:
        """The last lines of the console, as evidence for a message."""
        try:
            text = files.read_end(self.console_log, 16384)
        except FileNotFoundError:
            return ""
        return "\n".join(line.rstrip() for line in text.splitlines()[-lines:])

    def _qmp(self) -> Qmp:
        if not self.is_on():
            raise ProvisionError(f"the virtual machine {self.name} is off")
        return Qmp(self.folder / QMP_SOCKET)

    def _tell(self, command: str, arguments: dict[str, object] | None = None) -> None:
        with self._qmp() as qmp:
            qmp.execute(command, arguments)

    def _variables(self) -> Path:
        path = self.folder / "variables.fd"
        if not path.exists():
            shutil.copyfile(find_firmware(self.hardware.secure_boot).variables, path)
        return path

    def _new_log(self, wanted: Path | None) -> Path:
        log = wanted or self.folder / "logs" / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        link = self.folder / "console.log"
        link.unlink(missing_ok=True)
        link.symlink_to(log.absolute())
        return log.absolute()

    def _remove_remains(self) -> None:
        for name in (QMP_SOCKET, CONSOLE_SOCKET, self._pidfile.name):
            (self.folder / name).unlink(missing_ok=True)


def _bytes_written(qmp: Qmp, disk: str) -> int:
    for entry in qmp.execute("query-blockstats"):
        if entry.get("node-name") == node(disk):
            return int(entry["stats"]["wr_bytes"])
    raise ProvisionError(f"the running machine has no disk {disk!r}")
