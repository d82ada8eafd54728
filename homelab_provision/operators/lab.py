"""The lab's operator: switches virtual machines, plugs virtual sticks."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from homelab_provision import files
from homelab_provision.doors.process import tail
from homelab_provision.events import Emit
from homelab_provision.lab import reach
from homelab_provision.lab.lab import Lab
from homelab_provision.lab.machine import VirtualMachine
from homelab_provision.operators import AtHost
from homelab_provision.site.models import Machine, Site

# QEMU writes what a machine says with a little delay.
CONSOLE_SECONDS = 5.0


@dataclass(frozen=True)
class LabOperator:
    lab: Lab
    console_log: Path
    patience: float = 300.0

    def start_from_stick(self, machine: Machine, stick: Path) -> None:
        virtual = self._virtual(machine)
        virtual.power_off()
        virtual.power_on(stick=stick, console_log=self.console_log)

    def start_from_network(self, machine: Machine) -> None:
        virtual = self._virtual(machine)
        virtual.power_off()
        virtual.power_on(boot_from_network=True, console_log=self.console_log)

    def take_stick(self, machine: Machine) -> None:
        self._virtual(machine).remove_stick()

    def start_from_disk(self, machine: Machine) -> None:
        virtual = self._virtual(machine)
        virtual.power_off()
        virtual.power_on(console_log=self.console_log)

    def shown_code(self, machine: Machine) -> str | None:
        """The last one: every start of the rescue shows a new code on the same serial console."""
        give_up = time.monotonic() + CONSOLE_SECONDS
        while not (codes := re.findall(r"confirmation code: (\S+)\s", self._screen(machine))):
            if time.monotonic() > give_up:
                return None
            time.sleep(0.2)
        return str(codes[-1])

    def console(self, machine: Machine) -> str:
        return tail(self._screen(machine))

    def _screen(self, machine: Machine) -> str:
        log = self._virtual(machine).console_log
        return files.read_end(log, 2**20) if log.exists() else ""

    def _virtual(self, machine: Machine) -> VirtualMachine:
        return self.lab.machine(machine.name)


def operator(site: Site, console_log: Path, emit: Emit, at_host: AtHost) -> LabOperator:
    return LabOperator(reach.lab_of(site, emit), console_log)
