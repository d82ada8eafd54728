"""What is looked after beyond the interface itself: whether the tunnel carries anything, and what usually stops it.

A look has an order: what the host is, whether each peer that has a probe answers, and if one does not, from the likely
and harmless to the rare and rough: has its name moved, is the clock wrong, then a new interface. Each repair is noted
with its cause. What cannot be mended from here is said, with why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from homelab_host.errors import Trouble

from . import clock, dyndns, names, path_mtu, ping, wireguard
from .apply import Outcome, bring_up, take_down
from .config import Config, Peer
from .memory import Memory

# A look without an answer may be a lost packet; at the second one something is done about it.
LOOKS_UNTIL_REPAIR = 2
# A new interface is the last thing that is tried; it costs a moment each time, and may help only later.
LOOKS_UNTIL_RESTART, LOOKS_BETWEEN_RESTARTS = 4, 15


@dataclass
class Report:
    """What a look has found: what was repaired and why, and what is wrong, each by what it is about."""

    repairs: list[tuple[str, str]] = field(default_factory=list)
    """Cause, and what was done."""
    troubles: dict[str, str] = field(default_factory=dict)


def look(config: Config, memory: Memory, now: Callable[[], float] = time.time) -> Report:
    """Look once, and mend what can be mended."""
    report = Report()
    kept = memory.recall("watch")
    lowered = int(kept.get("mtu", 0)) or None
    _take(report, bring_up(config, memory, mtu=lowered))
    failing: dict[str, int] = {}
    for peer in config.peers:
        if not peer.probe:
            continue
        if ping.answers(peer.probe):
            lowered = path_mtu.look(config, peer.probe, lowered, kept, report)
            continue
        failing[peer.name] = int(kept.get("failing", {}).get(peer.name, 0)) + 1
        if failing[peer.name] >= LOOKS_UNTIL_REPAIR:
            _reach(config, peer, failing[peer.name], memory, report, kept, now)
    if config.dyndns:
        dyndns.look(config.dyndns, memory, report, now())
    seen = max(now(), float(kept.get("seen", 0)))
    kept |= {"failing": failing, "mtu": lowered or 0, "seen": seen, "troubles": report.troubles}
    memory.keep("watch", kept)
    return report


def _take(report: Report, outcome: Outcome) -> None:
    for cause in outcome.repaired:
        report.repairs.append((cause, "brought it to what the configuration says"))
    report.troubles |= outcome.troubles


def _reach(
    config: Config,
    peer: Peer,
    looks: int,
    memory: Memory,
    report: Report,
    kept: dict[str, Any],
    now: Callable[[], float],
) -> None:
    """A peer does not answer: find out why, and do something about it. `kept` is remembered between looks."""
    causes = list(_moved(config, peer, memory, report))
    causes += clock.look(float(kept.get("seen", 0)), now(), kept, report)
    report.repairs += [(cause, done) for cause, done in causes]
    if causes:
        return
    silent = _silence(config, peer, now())
    report.troubles[f"peer {peer.name}"] = f"{peer.name} does not answer at {peer.probe}; {silent}"
    since = looks - LOOKS_UNTIL_RESTART
    if since >= 0 and since % LOOKS_BETWEEN_RESTARTS == 0:
        take_down(config)
        outcome = bring_up(config, memory)
        report.troubles |= outcome.troubles
        report.repairs.append((f"{peer.name} has not answered {looks} times; {silent}", "made the interface anew"))


def _moved(config: Config, peer: Peer, memory: Memory, report: Report) -> Iterator[tuple[str, str]]:
    """Where its name leads now, it is looked for."""
    if peer.endpoint is None:
        return
    state = wireguard.read(config.interface)
    seen = state.peers.get(peer.public_key) if state else None
    if seen is None:
        return
    try:
        found = names.find(peer.endpoint, memory)
    except Trouble as trouble:
        report.troubles[f"name {peer.endpoint.host}"] = trouble.message
        return
    wanted = [wireguard.joined(address, peer.endpoint.port) for address in found]
    if seen.endpoint not in wanted:
        wireguard.point(config.interface, peer.public_key, wanted[0])
        before = seen.endpoint or "nowhere"
        yield f"{peer.endpoint.host} is at {wanted[0]} and was looked for at {before}", "looked for it there"


def _silence(config: Config, peer: Peer, now: float) -> str:
    state = wireguard.read(config.interface)
    seen = state.peers.get(peer.public_key) if state else None
    if seen is None or not seen.handshake:
        return "there was no handshake with it yet"
    return f"the last handshake was {max(0, now - seen.handshake):.0f} s ago"
