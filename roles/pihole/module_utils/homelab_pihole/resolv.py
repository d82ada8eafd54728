"""Whom the host itself asks for names: never the Pi-hole that it carries, or nothing comes back after a failure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Sequence
from pathlib import Path

RESOLV_CONF = Path("/etc/resolv.conf")
# What systemd-resolved writes: the first names its own listener, the second the servers that it asks itself.
STUB, UPSTREAM = Path("/run/systemd/resolve/stub-resolv.conf"), Path("/run/systemd/resolve/resolv.conf")
LISTENER = "127.0.0.53"


def servers(text: str) -> list[str]:
    """The name servers of a resolv.conf."""
    words = [line.split() for line in text.splitlines()]
    return [each[1].partition("%")[0] for each in words if len(each) > 1 and each[0] == "nameserver"]


def own_addresses(shown: str) -> list[str]:
    """The addresses of this host, from `ip -json address show`."""
    return [str(one["local"]) for link in json.loads(shown) for one in link.get("addr_info", []) if "local" in one]


def refusal(asked: Sequence[str], own: Collection[str]) -> str | None:
    """Why a host must not ask these; nothing if it may."""
    for server in asked:
        try:
            address = ipaddress.ip_address(server)
        except ValueError:
            return f"it asks {server!r}, which is no address"
        if address.is_loopback or address.is_unspecified:
            return f"it asks itself ({server})"
        if str(address) in {str(ipaddress.ip_address(each)) for each in own if each}:
            return f"it asks {server}, which is its own address or that of the pair"
    return None if asked else "it asks nobody"


def points_at_stub(file: Path = RESOLV_CONF) -> bool:
    """Whether names are asked of the listener of systemd-resolved, which has port 53."""
    if file.is_symlink() and file.resolve() == STUB:
        return True
    return file.exists() and LISTENER in servers(file.read_text())
