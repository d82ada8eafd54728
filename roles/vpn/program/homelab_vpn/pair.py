"""Several servers that are one to their clients.

They have one key, and a floating address, which is with one of them. That one tells the others every second where its
clients are. When the address comes to another, a client would notice after fifteen seconds that nobody there knows its
session (KEEPALIVE_TIMEOUT and REKEY_TIMEOUT of WireGuard). So who has the address, and has heard of a session that is
newer than its own, speaks first. Who does not have it forgets its sessions: a word of it would take a client along.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from homelab_host.errors import Trouble

from . import host, places, wireguard
from .config import Config, Pair
from .process import must, run

# Seconds between two looks at who has the address, and between two words about clients.
LOOK, TELL = 0.2, 1.0
LARGEST = 65507


def serve(load: Callable[[], Config], pair: Pair, tell: Callable[[str], None]) -> None:
    """Keep this host in step with the others, for ever. `tell` gets what happens.

    `load` is asked for the configuration at each step: who may not connect any more is not let in again from here.
    """
    voice, knowledge = places.Voice(load().private_key), places.Knowledge()
    held, due, trouble = None, 0.0, ""
    with socket.socket(_family(pair.others[0]), socket.SOCK_DGRAM) as door:
        door.bind(("", pair.port))
        while True:
            knowledge.learn(_hear(door, pair, voice))
            holds, now = has(pair), time.monotonic()
            if holds == held and now < due:
                continue
            if holds != held:
                tell("the address is here" if holds else "the address is not here")
            held, due = holds, now + TELL
            try:
                config = load()
                state = wireguard.read(config.interface)
                own = places.of(state)
                if holds:
                    _greet(config, pair, knowledge.to_greet(own, _keys(config), now), tell)
                    for packet in voice.say(own, time.time()):
                        _say(door, pair, packet)
                elif state and any(seen.endpoint for seen in state.peers.values()):
                    knowledge.learn(own)  # for when the address comes back
                    _forget(config, pair)
                    tell("forgot its sessions, which are another's now")
                trouble = ""
            except (Trouble, OSError) as error:
                if str(error) != trouble:  # one that lasts is told once
                    tell(str(error))
                trouble = str(error)


def has(pair: Pair) -> bool:
    """Whether the address is on this host."""
    return not host.own_addresses().isdisjoint(pair.addresses)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _hear(door: socket.socket, pair: Pair, voice: places.Voice) -> dict[str, places.Place]:
    """Wait a moment for a word of one of the others."""
    door.settimeout(LOOK)
    try:
        packet, sender = door.recvfrom(LARGEST)
    except OSError:
        # A host that is down may be told so to us (ECONNREFUSED); the next look is as good.
        return {}
    return voice.hear(packet, sender[0], time.monotonic()) if sender[0] in pair.others else {}


def _say(door: socket.socket, pair: Pair, packet: bytes) -> None:
    for other in pair.others:
        try:
            door.sendto(packet, (other, pair.port))
        except OSError:
            continue  # its network is down, or ours: the next word may reach it


def _greet(config: Config, pair: Pair, endpoints: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Shake hands with clients, by their keys, whose newest session is with another server."""
    if not endpoints:
        return
    for endpoint in endpoints.values():
        try:
            _lead(config, pair, endpoint)
        except Trouble as trouble:
            tell(str(trouble))  # there may be no way to this one now; the others are greeted
    peers = config.peers_at(datetime.now(UTC))
    # A peer that is new may say its first word at once, and one that keeps a way open says one.
    others = [peer for peer in peers if peer.public_key not in endpoints]
    first = [replace(peer, keepalive=1) if peer.public_key in endpoints else peer for peer in peers]
    for listed in (others, first, peers):
        wireguard.synchronise(
            config.interface, wireguard.document(config, listed, endpoints if listed is first else {})
        )
    tell(f"spoke first to {', '.join(sorted(peer.name for peer in peers if peer.public_key in endpoints))}")


def _keys(config: Config) -> list[str]:
    return [peer.public_key for peer in config.peers_at(datetime.now(UTC))]


def _lead(config: Config, pair: Pair, endpoint: str) -> None:
    """Have what goes to a client come from the address: its router lets nobody else in."""
    client = endpoint.rpartition(":")[0].strip("[]")
    source = next((each for each in pair.addresses if (":" in each) == (":" in client)), None)
    if source is None:
        return
    version, table = _version(client), str(config.port)
    [way] = json.loads(must(["ip", "-json", version, "route", "get", client]))
    through = ["via", way["gateway"]] if "gateway" in way else []
    leads = [client, *through, "dev", way["dev"], "src", source, "table", table]
    must(["ip", version, "route", "replace", *leads])
    rule = ["ipproto", "udp", "sport", str(config.port), "lookup", table]
    if not json.loads(must(["ip", "-json", version, "rule", "show", *rule]) or "[]"):
        must(["ip", version, "rule", "add", *rule])


def _version(address: str) -> str:
    return "-6" if ":" in address else "-4"


def _forget(config: Config, pair: Pair) -> None:
    for address in pair.addresses:
        run(["ip", _version(address), "route", "flush", "table", str(config.port)])
    peers = config.peers_at(datetime.now(UTC))
    wireguard.synchronise(config.interface, wireguard.document(config, (), {}))
    wireguard.synchronise(config.interface, wireguard.document(config, peers, {}))
