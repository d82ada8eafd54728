"""Who else is on this wire, and which SSH host keys do they show? Nobody is logged in to, and nothing is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from homelab_provision.doors.process import run
from homelab_provision.doors.ssh import Door

# Every node of a link listens to this address (RFC 4291, 2.7.1), and Linux answers it.
ALL_NODES = "ff02::1"
KEY_SECONDS = 5


@dataclass(frozen=True)
class Neighbour:
    """An address on the wire, and the network card behind it."""

    address: str
    mac: str


def neighbours(door: Door, link: str) -> tuple[Neighbour, ...]:
    """Everybody who answers on a link, by IPv6 link-local address."""
    # Whoever answers asks for our address first, and the kernel remembers it: what `ping` prints is not needed.
    run(
        [*door.prefix, "ping", "-6", "-q", "-c", "3", "-i", "0.5", "-w", "4", f"{ALL_NODES}%{link}"],
        deadline=15,
        check=False,
    )
    shown = run([*door.prefix, "ip", "-json", "-6", "neigh", "show", "dev", link], deadline=10)
    return parse_neighbours(shown.stdout)


def parse_neighbours(text: str) -> tuple[Neighbour, ...]:
    """What `ip -json -6 neigh show` prints: one who was asked and did not answer has no `lladdr`."""
    entries = json.loads(text or "[]")
    return tuple(
        Neighbour(entry["dst"], entry["lladdr"].lower())
        for entry in entries
        if entry.get("lladdr") and entry.get("dst", "").startswith("fe80:")
    )


def shown_keys(door: Door, addresses: Sequence[str]) -> dict[str, str]:
    """The Ed25519 host key (`ssh-ed25519 AAAA…`) that each of these addresses shows, all asked at once. Who shows none
    is not in it."""
    if not addresses:
        return {}
    scan = ["ssh-keyscan", "-T", str(KEY_SECONDS), "-t", "ed25519", *addresses]
    shown = run([*door.prefix, *scan], deadline=KEY_SECONDS * 2 + 10 + len(addresses), check=False).stdout
    lines = [line.split(" ", 1) for line in shown.splitlines() if " ssh-ed25519 " in line]
    # At another port than 22, `[address]:port`.
    return {address.lstrip("[").partition("]")[0]: key.strip() for address, key in lines}
