"""A person beside the box, who is told what to do and waited for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from homelab_provision.events import Emit, Notice
from homelab_provision.operators import AtHost
from homelab_provision.site.models import Machine, Site

ONE_AT_A_TIME = True  # two hands, and a stick that is free again when its rescue has answered


@dataclass(frozen=True)
class PersonOperator:
    emit: Emit
    patience: float = 1800.0

    def start_from_stick(self, machine: Machine, stick: Path) -> None:
        self._tell(
            f"At {_named(machine)}: switch it off, plug in the rescue stick and a network cable, switch it on "
            "and choose the stick in the one-time boot menu (F12 on a Dell). "
            f"A stick is written with `provision usb write /dev/…`; its image is {stick}."
        )

    def start_from_network(self, machine: Machine) -> None:
        self._tell(
            f"At {_named(machine)}: switch it off, plug in a network cable, switch it on and choose the network card "
            "(UEFI, IPv4) in the one-time boot menu (F12 on a Dell)."
        )

    def take_stick(self, machine: Machine) -> None:
        self._tell(f"You may pull the stick out of {_named(machine)} now; nothing depends on it.")

    def start_from_disk(self, machine: Machine) -> None:
        self._tell(f"At {_named(machine)}: pull the stick and switch the machine off and on again.")

    def shown_code(self, machine: Machine) -> str | None:
        return None

    def console(self, machine: Machine) -> str:
        return ""

    def _tell(self, text: str) -> None:
        self.emit(Notice(text=text))


def operator(site: Site, console_log: Path, emit: Emit, at_host: AtHost) -> PersonOperator:
    return PersonOperator(emit)


def _named(machine: Machine) -> str:
    what = f" ({machine.model})" if machine.model else ""
    return f"{machine.name}{what}, {machine.passport.known_by}"
