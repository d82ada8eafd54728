"""A computer of its own on the lab's network, for as long as something is served from it.

A home's controller is not its router, either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface

from homelab_provision.doors.process import run
from homelab_provision.lab.netns import namespace_exists
from homelab_provision.lab.sudo import Argv, Privilege
from homelab_provision.site.virtual import LabNetwork

INNER, OUTER = "lan0", "seat0"
_SECONDS = 20.0


def seat_name(network: LabNetwork) -> str:
    """The namespace of that computer."""
    return f"{network.namespace}-seat"


def seat_address(network: LabNetwork) -> IPv4Interface:
    """The address after the router's."""
    return IPv4Interface(f"{network.router.ip + 1}/{network.subnet.prefixlen}")


def seat_commands(network: LabNetwork, who: Privilege) -> list[Argv]:
    """Make the namespace, and plug it into the lab's bridge."""
    name, lab = seat_name(network), network.namespace
    return [
        who.root("ip", "netns", "add", name),
        who.root("ip", "link", "add", OUTER, "netns", lab, "type", "veth", "peer", "name", INNER, "netns", name),
        who.root("ip", "-n", lab, "link", "set", OUTER, "master", network.bridge, "up"),
        who.root("ip", "-n", name, "addr", "add", str(seat_address(network)), "dev", INNER),
        who.root("ip", "-n", name, "link", "set", "lo", "up"),
        who.root("ip", "-n", name, "link", "set", INNER, "up"),
    ]


@contextmanager
def seat(network: LabNetwork, who: Privilege) -> Iterator[tuple[str, str, IPv4Interface]]:
    """Its namespace, its interface and its address. One that a killed process has left is made anew."""
    leave(network, who)
    try:
        for argv in seat_commands(network, who):
            run(argv, deadline=_SECONDS)
        yield seat_name(network), INNER, seat_address(network)
    finally:
        leave(network, who)


def leave(network: LabNetwork, who: Privilege) -> None:
    """Remove it, if it is there; its cable goes with it."""
    if namespace_exists(seat_name(network)):
        run(who.root("ip", "netns", "delete", seat_name(network)), deadline=_SECONDS)
