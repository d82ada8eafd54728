"""The lab: machines on their network, brought up and taken down as one.

Everything lies in one state folder:

    machines/<name>/   see `machine`
    dnsmasq.*          the DHCP and DNS server: configuration, leases, log, pid
    lab.lock           held while the lab is being brought up or taken down
"""

from __future__ import annotations

import grp
import pwd
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from homelab_provision import files, paths
from homelab_provision.doors.process import run
from homelab_provision.errors import ProvisionError, UsageError
from homelab_provision.lab import seat
from homelab_provision.lab.machine import VirtualMachine
from homelab_provision.lab.netns import lower_network, namespace_exists, processes_inside, raise_network, resolvers
from homelab_provision.lab.network import dnsmasq_config, parse_leases, tap_name
from homelab_provision.lab.pidfile import Daemon, kill, program
from homelab_provision.lab.qemu import Accel
from homelab_provision.lab.sudo import Argv, Privilege
from homelab_provision.site.virtual import LabMachine, LabNetwork

# What a lab of ours runs inside its namespace; the names as the kernel cuts them off.
_DAEMONS = ("qemu-system-x86", "dnsmasq")


@dataclass(frozen=True)
class MachineStatus:
    """One line of `provision lab status`."""

    name: str
    on: bool
    pid: int | None
    mac: str
    address: IPv4Address | None
    stick: Path | None
    console_log: Path


class Lab:
    """A lab as described; its state lives in the kernel and in `state_dir`, none in this object.

    `reservations` says which address DHCP gives to which MAC.
    """

    def __init__(
        self,
        network: LabNetwork,
        machines: Mapping[str, LabMachine],
        reservations: Mapping[str, IPv4Address],
        state_dir: Path,
        accel: Accel,
    ) -> None:
        self.network, self.accel = network, accel
        self._hardware = dict(machines)
        self._reservations = {mac.lower(): address for mac, address in reservations.items()}
        self._folder = state_dir.absolute()
        self._who = Privilege.current()

    def up(self) -> tuple[str, ...]:
        """Bring the network up; machines stay off. Returns what changed on this computer, in words.

        A lab that is up, or half up, is completed. A machine keeps running.
        """
        with self._lock():
            taps = {tap_name(name): each.bridge or self.network.bridge for name, each in self._hardware.items()}
            notes = raise_network(self.network, taps, self._who)
            notes += self._serve_addresses()
        return tuple(notes)

    def is_up(self) -> bool:
        """Whether the network is there and its DHCP server runs."""
        return namespace_exists(self.network.namespace) and self._server.pid is not None

    def status(self) -> list[MachineStatus]:
        """Every machine of the lab, as it is now."""
        return [self._status(self.machine(name)) for name in self._hardware]

    def down(self, *, remove_disks: bool = False) -> tuple[str, ...]:
        """Cut the power of every machine and remove the network; returns what was restored on this computer."""
        with self._lock():
            self._end_daemons()
            seat.leave(self.network, self._who)
            notes = lower_network(self.network, self._who)
            if remove_disks:
                shutil.rmtree(self._folder / "machines", ignore_errors=True)
        return tuple(notes)

    def machine(self, name: str) -> VirtualMachine:
        """The machine called `name`; raises `UsageError` if the lab has none."""
        if name not in self._hardware:
            known = ", ".join(sorted(self._hardware)) or "none"
            raise UsageError(f"the lab has no machine called {name!r}", hint=f"machines of the lab: {known}")
        folder = self._folder / "machines" / name
        return VirtualMachine(name, self._hardware[name], folder, self.network.namespace, self.accel)

    def exec_argv(self, *argv: str) -> Argv:
        """`argv` to be run inside the lab's network, as root; empty for the prefix alone."""
        return self._who.inside(self.network.namespace, *argv)

    def _status(self, machine: VirtualMachine) -> MachineStatus:
        pid, mac = machine.pid, machine.hardware.mac
        try:
            stick = machine.stick()
        except ProvisionError:  # a QEMU that hangs is still worth a line
            stick = None
        address = self._reservations.get(mac) or self._leases().get(mac)
        return MachineStatus(machine.name, pid is not None, pid, mac, address, stick, machine.console_log)

    def _leases(self) -> dict[str, IPv4Address]:
        try:
            lines = (self._folder / "dnsmasq.leases").read_text().splitlines()
        except FileNotFoundError:
            return {}
        return parse_leases(lines)

    def _serve_addresses(self) -> list[str]:
        config = self._folder / "dnsmasq.conf"
        servers = resolvers() if self.network.outside else []
        user, group = pwd.getpwuid(self._who.uid).pw_name, grp.getgrgid(self._who.gid).gr_name
        text = dnsmasq_config(self.network, self._reservations, servers, self._folder, user, group)
        if self._server.pid is None or config.read_text() != text:
            self._server.kill()
            config.write_text(text)
            run(self.exec_argv("dnsmasq", f"--conf-file={config}"), deadline=20)
        if self.network.outside and not servers:
            return ["no name server of this computer can be asked from the lab: it knows no names of the internet"]
        return []

    @property
    def _server(self) -> Daemon:
        return Daemon(self._folder / "dnsmasq.pid", str(self._folder / "dnsmasq.conf"))

    def _end_daemons(self) -> None:
        # By namespace, not by pid file: also machines that the site no longer describes, and those of a lost state.
        for pid in processes_inside(self.network, self._who):
            if (name := program(pid)) in _DAEMONS:
                kill(pid, partial(_runs, pid, name))
        for folder in (self._folder / "machines").glob("*/"):
            for left in ("qemu.pid", "qmp.sock", "console.sock"):
                (folder / left).unlink(missing_ok=True)
        (self._folder / "dnsmasq.pid").unlink(missing_ok=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        paths.private(self._folder)
        with files.exclusive(self._folder / "lab.lock"):
            yield


def _runs(pid: int, name: str | None) -> bool:
    return program(pid) == name
