"""A machine that starts when a packet comes for its network card (Wake-on-LAN), and a person for all the rest.

The firmware has to be told once: `docs/hardware/` says for each kind of box how, and what it starts from when it is
woken. A machine that is on already does not hear the packet.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.doors.process import run
from homelab_provision.events import Emit, Notice
from homelab_provision.lab import reach
from homelab_provision.operators import AtHost, Operator
from homelab_provision.operators import person as hands
from homelab_provision.site.models import Machine, Site

ONE_AT_A_TIME = hands.ONE_AT_A_TIME  # who does not wake needs them
SECONDS = 30.0  # until the packets are sent
# `python3 - MAC…`, at the controller or at a host: to everybody on each of its networks, as a card that sleeps has no
# address. The packet is AMD's: six times 0xff, sixteen times the MAC. Port 9 is `discard`. What is lost is not missed,
# so it is sent more than once.
WAKE = """
import json, socket, subprocess, sys, time
from ipaddress import ip_interface
links = json.loads(subprocess.run(["ip", "-j", "-4", "address"], capture_output=True, check=True).stdout)
owns = [each for link in links for each in link["addr_info"]]
networks = {ip_interface(f"{own['local']}/{own['prefixlen']}").network for own in owns}
to = [network.broadcast_address for network in networks if network.num_addresses > 2 and not network.is_loopback]
if not to:
    sys.exit("there is no network on which a machine could be woken")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for _ in range(3):
        for mac in sys.argv[1:]:
            for address in to:
                sender.sendto(b"\\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16, (str(address), 9))
        time.sleep(0.3)
"""


@dataclass(frozen=True)
class WakeOperator:
    site: Site
    emit: Emit
    at_host: AtHost
    person: Operator

    @property
    def patience(self) -> float:
        return self.person.patience

    def start_from_stick(self, machine: Machine, stick: Path) -> None:
        self.person.start_from_stick(machine, stick)

    def start_from_network(self, machine: Machine) -> None:
        self._wake(machine)
        self._tell(
            f"{machine.name} was woken over the network. If it shows nothing within two minutes, it was not off, or "
            "its firmware does not hear that (docs/hardware/), and it needs a hand:"
        )
        self.person.start_from_network(machine)

    def take_stick(self, machine: Machine) -> None:
        self.person.take_stick(machine)

    def start_from_disk(self, machine: Machine) -> None:
        self._wake(machine)
        self._tell(f"{machine.name} was woken over the network, if it was off. If it was on:")
        self.person.start_from_disk(machine)

    def shown_code(self, machine: Machine) -> str | None:
        return self.person.shown_code(machine)

    def console(self, machine: Machine) -> str:
        return self.person.console(machine)

    def _wake(self, machine: Machine) -> None:
        """Raises `ProvisionError` where the packet cannot be sent."""
        macs = machine.passport.macs
        if machine.wake_through:
            self.at_host(machine.wake_through, ["python3", "-", *macs], WAKE, SECONDS)
        else:
            run([*reach.door(self.site).prefix, sys.executable, "-", *macs], input=WAKE, deadline=SECONDS)

    def _tell(self, text: str) -> None:
        self.emit(Notice(text=text))


def operator(site: Site, console_log: Path, emit: Emit, at_host: AtHost) -> WakeOperator:
    return WakeOperator(site, emit, at_host, hands.operator(site, console_log, emit, at_host))
