"""The way from how things are to how they have to be. Every step looks first, so that it can be done at any time: when
the host starts, when the configuration has changed, and by the watch, several times a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from homelab_host.errors import Trouble

from . import host, names, wireguard
from .config import Config, Peer
from .memory import Memory
from .process import must

# Seconds that are enough for a pair to make some peers anew.
GREETING = 0.5
# Steps whose work goes with an interface.
OF_THE_INTERFACE = ("addresses", "mtu", "routes")


@dataclass
class Outcome:
    """What was not as it had to be and is now, and what could not be brought there, each by what it is about."""

    repaired: list[str] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)


def bring_up(config: Config, memory: Memory, *, mtu: int | None = None) -> Outcome:
    """Do every step; one that fails costs only itself. `mtu` goes before the configured one."""
    outcome = Outcome()
    peers = config.peers_at(datetime.now(UTC))
    networks = {network for peer in peers for network in peer.networks}
    steps: Mapping[str, Callable[[], Iterator[str]]] = {
        "interface": lambda: _interface(config, peers, lambda: _endpoints(peers, memory, outcome)),
        "addresses": lambda: host.addresses(config),
        "mtu": lambda: _mtu(config.interface, mtu or config.mtu),
        "routes": lambda: host.routes(config, networks),
        "forwarding": lambda: host.forwarding(config),
        "firewall": lambda: host.firewall(config),
        "docker": lambda: host.docker(config),
    }
    was_there = wireguard.read(config.interface) is not None
    for name, step in steps.items():
        try:
            repaired = list(step())
            # What a new interface lacks is no cause of its own.
            outcome.repaired += repaired if was_there or name not in OF_THE_INTERFACE else []
        except (Trouble, OSError) as trouble:
            outcome.troubles[name] = str(trouble)
    return outcome


def take_down(config: Config) -> None:
    """Remove the interface, and with it its addresses and routes."""
    if wireguard.read(config.interface) is not None:
        must(["ip", "link", "delete", "dev", config.interface])


def _interface(config: Config, peers: tuple[Peer, ...], endpoints: Callable[[], Mapping[str, str]]) -> Iterator[str]:
    state = wireguard.read(config.interface)
    if state is None:
        host.make_interface(config.interface)
        yield f"{config.interface} was not there"
        wireguard.synchronise(config.interface, wireguard.document(config, peers, endpoints()))
    elif not _fits(state, config, peers):
        # Where a peer is now is better known to the kernel than to any file.
        unknown = {key: each for key, each in endpoints().items() if key not in state.peers}
        wireguard.synchronise(config.interface, wireguard.document(config, peers, unknown))
        expired = [peer.name for peer in config.peers if peer.public_key in state.peers and peer not in peers]
        others = f"the peers of {config.interface} were others, or their keys"
        yield f"the last day of {', '.join(expired)} is over" if expired else others


def _fits(state: wireguard.State, config: Config, peers: tuple[Peer, ...]) -> bool:
    """Whether the peers are as configured, or are again when who greets them for the pair has done so."""
    if wireguard.fits(state, config, peers):
        return True
    if config.pair is None:
        return False
    time.sleep(GREETING)
    again = wireguard.read(config.interface)
    return again is not None and wireguard.fits(again, config, peers)


def _mtu(interface: str, size: int) -> Iterator[str]:
    if (before := host.mtu(interface)) != size:
        host.set_mtu(interface, size)
        yield f"{interface} sent packets of {before} bytes instead of {size}"


def _endpoints(peers: tuple[Peer, ...], memory: Memory, outcome: Outcome) -> dict[str, str]:
    """Where each peer with an endpoint is looked for. A name that has no answer now is where it was before."""
    found = {}
    for peer in peers:
        if peer.endpoint is None:
            continue
        try:
            address: str | None = names.find(peer.endpoint, memory)[0]
        except Trouble as trouble:
            outcome.troubles[f"name {peer.endpoint.host}"] = trouble.message
            address = names.last(peer.endpoint, memory)
        if address:
            found[peer.public_key] = wireguard.joined(address, peer.endpoint.port)
    return found
