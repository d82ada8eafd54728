"""The interface as the kernel has it, and what is handed to `wg` to change it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .config import Config, Peer
from .process import must, run

# Without traffic or a probe, WireGuard itself gives a session up after this many seconds (REJECT_AFTER_TIME).
SESSION = 180


@dataclass(frozen=True)
class Seen:
    """A peer as the kernel has it; `handshake` in seconds since 1970, 0 for never."""

    preshared_key: str = field(repr=False)
    endpoint: str
    networks: frozenset[str]
    handshake: int
    received: int
    sent: int
    keepalive: int


@dataclass(frozen=True)
class State:
    """An interface as the kernel has it."""

    private_key: str = field(repr=False)
    port: int
    peers: Mapping[str, Seen]
    """By public key."""


def read(interface: str) -> State | None:
    """`None` where there is no such interface, or one of another kind."""
    done = run(["wg", "show", interface, "dump"])
    return parse(done.out) if done.status == 0 else None


def parse(dump: str) -> State:
    """What `wg show INTERFACE dump` prints: a line of the interface, and one of each peer, in columns (wg(8))."""
    lines = [line.split("\t") for line in dump.splitlines()]
    private, _, port, _ = lines[0]
    peers = {}
    for public, shared, endpoint, networks, handshake, received, sent, keepalive in lines[1:]:
        peers[public] = Seen(
            preshared_key="" if shared == "(none)" else shared,
            endpoint="" if endpoint == "(none)" else endpoint,
            networks=frozenset(networks.split(",")) if networks != "(none)" else frozenset(),
            handshake=int(handshake),
            received=int(received),
            sent=int(sent),
            keepalive=0 if keepalive == "off" else int(keepalive),
        )
    return State("" if private == "(none)" else private, int(port), peers)


def fits(state: State, config: Config, peers: Iterable[Peer]) -> bool:
    """Whether keys, port and peers are as configured. Where a peer was last seen is its own business."""
    wanted = {peer.public_key: (peer.preshared_key, networks_of(peer), peer.keepalive) for peer in peers}
    present = {key: (seen.preshared_key, seen.networks, seen.keepalive) for key, seen in state.peers.items()}
    port_fits = config.port in (0, state.port)
    return state.private_key == config.private_key and port_fits and wanted == present


def networks_of(peer: Peer) -> frozenset[str]:
    return frozenset(map(str, peer.networks))


def document(config: Config, peers: Iterable[Peer], endpoints: Mapping[str, str]) -> str:
    """The configuration in the words of `wg syncconf`; `endpoints` are addresses and ports, by public key.

    A name would be looked up by `wg` itself, which waits for that without an end.
    """
    lines = ["[Interface]", f"PrivateKey = {config.private_key}"]
    if config.port:
        lines.append(f"ListenPort = {config.port}")
    for peer in peers:
        lines += ["", "[Peer]", f"PublicKey = {peer.public_key}"]
        if peer.preshared_key:
            lines.append(f"PresharedKey = {peer.preshared_key}")
        lines.append(f"AllowedIPs = {', '.join(sorted(networks_of(peer)))}")
        if endpoint := endpoints.get(peer.public_key):
            lines.append(f"Endpoint = {endpoint}")
        # Without a word of it, `wg` leaves it as it was.
        lines.append(f"PersistentKeepalive = {peer.keepalive}")
    return "\n".join(lines) + "\n"


def synchronise(interface: str, text: str) -> None:
    """Only what differs is changed: a session that may go on goes on."""
    must(["wg", "syncconf", interface, "/dev/stdin"], feed=text)


def point(interface: str, public_key: str, endpoint: str) -> None:
    """Look for a peer at this address and port from now on."""
    must(["wg", "set", interface, "peer", public_key, "endpoint", endpoint])


def joined(address: str, port: int) -> str:
    """An address and a port as `wg` writes them."""
    return f"[{address}]:{port}" if ipaddress.ip_address(address).version == 6 else f"{address}:{port}"
