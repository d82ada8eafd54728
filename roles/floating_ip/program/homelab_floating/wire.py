"""Is anybody there? A host that hears nothing from its network must not keep an address that others may have taken.

Its own link may look well: a switch or a cable farther away is broken. Until that is mended nobody is harmed, but then
two hosts have the address, and one of them takes it from clients for a second time.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path

# How long (seconds) a network may say nothing to a host that asks.
PATIENCE = 1.5
NETWORKS = Path("/sys/class/net")
ROUTES = Path("/proc/net/route")
ETHERNET, IPV4, ASKS = 1, 0x0800, 1
ARP = 0x0806
EVERYBODY = b"\xff" * 6


class Wire:
    """What comes in at an interface. When nothing does, `peers` and the router (IPv4) are asked who they are (ARP)."""

    def __init__(self, interface: str, source: str, peers: Sequence[str]) -> None:
        self.interface, self.source, self.peers = interface, source, tuple(peers)
        self._folder = NETWORKS / interface
        self._seen, self._heard = -1, time.monotonic()
        self._asked: tuple[str, ...] = ()

    def ask(self) -> None:
        """Look whether something came since the last time; if not, ask for it."""
        try:
            seen = int((self._folder / "statistics/rx_packets").read_text())
        except (OSError, ValueError):
            return  # there is no such interface: nothing is heard
        if seen != self._seen:
            self._seen, self._heard = seen, time.monotonic()
            return
        self._asked = tuple(dict.fromkeys([*self.peers, *_routers(self.interface)]))
        try:
            own = bytes.fromhex((self._folder / "address").read_text().strip().replace(":", ""))
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as asking:
                asking.bind((self.interface, ARP))
                for address in self._asked:
                    asking.send(question(own, self.source, address))
        except OSError:
            pass  # it is down, and hears nothing, either

    def objection(self) -> str | None:
        """Why this host may have no address at all; `None`: it is not alone."""
        silent = time.monotonic() - self._heard
        if silent < PATIENCE:
            return None
        return f"{self.interface} hears nothing, not even from {' and '.join(self._asked) or 'anybody'}"


def question(own: bytes, source: str, address: str) -> bytes:
    """Who has this address? (ARP over Ethernet, RFC 826.) `own` is the MAC that asks."""
    head = EVERYBODY + own + struct.pack("!H", ARP)
    told = struct.pack("!HHBBH", ETHERNET, IPV4, 6, 4, ASKS) + own + ipaddress.IPv4Address(source).packed
    return head + told + bytes(6) + ipaddress.IPv4Address(address).packed


def _routers(interface: str) -> list[str]:
    """The routers of the default routes (IPv4) through an interface."""
    found = []
    for line in ROUTES.read_text().splitlines()[1:]:
        name, destination, gateway = line.split()[:3]
        if name == interface and destination == "00000000" and gateway != "00000000":
            found.append(socket.inet_ntoa(struct.pack("<I", int(gateway, 16))))
    return found
