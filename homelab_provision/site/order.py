"""Which host comes before which: what one needs of another until it is proven, as far as the site says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from homelab_provision.errors import UsageError
from homelab_provision.site.models import Host, Site
from homelab_provision.site.roles import programs_of

BACKUPS = "its backups"
# Hosts that come first: name → what of them is needed.
Needed = Mapping[str, str]


def in_order(site: Site, names: Iterable[str]) -> dict[str, Needed]:
    """Hosts, each after those among them that it needs. Whoever is not among them is no affair of theirs.

    Raises UsageError for hosts that need each other, and for a name that the site does not know.
    """
    among = {name: site.host(name) for name in names}
    needed = {name: dict(_needed(host, among)) for name, host in among.items()}
    try:
        order = list(TopologicalSorter({name: sorted(first) for name, first in needed.items()}).static_order())
    except CycleError as error:
        circle = error.args[1][::-1]
        told = ", ".join(f"{one} needs {first} for {needed[one][first]}" for one, first in pairwise(circle))
        raise UsageError(
            f"none of these hosts can be the first: {told}",
            hint=f"begin with one of them alone, as with `provision rebuild {circle[0]}`",
        ) from None
    return {name: needed[name] for name in order}


def _needed(host: Host, among: Mapping[str, Host]) -> Iterator[tuple[str, str]]:
    """The hosts that one needs, with what for; of several reasons the last counts."""
    names = {place: other.name for other in among.values() for place in _places(other)}
    for place, what in _uses(host, among, names):
        if (first := names.get(place, host.name)) != host.name:
            yield first, what


def _places(host: Host) -> Iterator[str]:
    """What others may call a host."""
    yield host.name
    if host.address:
        yield host.address
    if host.network:
        yield str(host.network.address.ip)


def _uses(host: Host, among: Mapping[str, Host], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and addresses, with what a host has of them."""
    clients = {client.host for client in host.vpn.clients.values()} if host.vpn else set()
    if host.name in clients:
        servers = [other for other in among.values() if "vpn" in other.roles and other.name not in clients]
        yield from ((server.name, "the VPN") for server in servers)
    network = host.network
    # Of several that answer names, one is enough, and may be none of these.
    if network and network.dns and all(str(server) in names for server in network.dns):
        yield from ((str(server), "names") for server in network.dns)
    if network and network.gateway:
        yield str(network.gateway), "its way out"
    yield from host.uses.items()
    if host.backup and programs_of(host.roles):
        yield str(host.backup.server), BACKUPS
