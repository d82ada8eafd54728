"""Where clients are: what one server says of it to another, and the newest that is known.

A word is a datagram: the HMAC-SHA256 of the rest, by a key that is made of the server's own, and a document of JSON.
Where there are many clients it takes several.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from . import wireguard

# Seconds after which an older word of somebody who was silent counts again: its clock may have been set right.
SILENCE = 10.0
# For one session. They are one, two and four seconds apart.
GREETINGS = 4
# A place takes about 90 bytes, and what a network passes on in one piece is 1280 at least.
CLIENTS_IN_A_WORD = 10
MAC = hashlib.sha256().digest_size


class Place(NamedTuple):
    """When a client last shook hands, in seconds since 1970, and where it was then."""

    handshake: int
    endpoint: str


NOWHERE = Place(0, "")


def of(state: wireguard.State | None) -> dict[str, Place]:
    """Of all who are connected here, or were, by their keys."""
    peers = state.peers.items() if state else ()
    return {key: Place(seen.handshake, seen.endpoint) for key, seen in peers if seen.handshake and seen.endpoint}


class Voice:
    """Speaks to those who have the same key, and tells them from strangers."""

    def __init__(self, private_key: str) -> None:
        self._key = hmac.digest(private_key.encode(), b"homelab-vpn: places of clients", "sha256")
        # When each sender said its last word: by its own clock, and by ours.
        self._heard: dict[str, tuple[float, float]] = {}

    def say(self, places: Mapping[str, Place], at: float) -> Iterator[bytes]:
        """Each word is a moment younger than the one before: who hears them takes an older one for a replay."""
        items = sorted(places.items())
        for number, begin in enumerate(range(0, max(len(items), 1), CLIENTS_IN_A_WORD)):
            body = {"at": at + number * 1e-5, "places": dict(items[begin : begin + CLIENTS_IN_A_WORD])}
            text = json.dumps(body).encode()
            yield hmac.digest(self._key, text, "sha256") + text

    def hear(self, packet: bytes, sender: str, now: float) -> dict[str, Place]:
        """What somebody said; nothing, if it was a stranger, or has been said before. `now` is a clock of ours."""
        mac, body = packet[:MAC], packet[MAC:]
        if not hmac.compare_digest(mac, hmac.digest(self._key, body, "sha256")):
            return {}
        said = json.loads(body)
        at, heard = self._heard.get(sender, (0.0, now - SILENCE))
        if said["at"] <= at and now - heard < SILENCE:
            return {}
        self._heard[sender] = said["at"], now
        return {key: Place(*place) for key, place in said["places"].items()}


@dataclass(frozen=True)
class Greeting:
    """A client was greeted for a session that it has elsewhere, so many times; the next one is due then."""

    handshake: int
    times: int
    due: float


@dataclass
class Knowledge:
    """The newest that is known of each client, and who was greeted for it."""

    places: dict[str, Place] = field(default_factory=dict)
    _greeted: dict[str, Greeting] = field(default_factory=dict)

    def learn(self, places: Mapping[str, Place]) -> None:
        for key, place in places.items():
            self.places[key] = max(place, self.places.get(key, place))

    def to_greet(self, own: Mapping[str, Place], keys: Iterable[str], now: float) -> dict[str, str]:
        """Where those of `keys` are who have a newer session with another server. `now` is a clock of ours, in seconds.

        The first word may have come before a switch or a router knew where the address is now; WireGuard itself would
        say the next one after five seconds.
        """
        found = {}
        for key in keys:
            place, mine = self.places.get(key, NOWHERE), own.get(key, NOWHERE)
            last = self._greeted.get(key, Greeting(0, 0, 0))
            times = last.times + 1 if last.handshake == place.handshake else 1
            if place.handshake <= mine.handshake or times > GREETINGS or (times > 1 and now < last.due):
                continue
            self._greeted[key] = Greeting(place.handshake, times, now + 2 ** (times - 1))
            found[key] = place.endpoint
        return found
