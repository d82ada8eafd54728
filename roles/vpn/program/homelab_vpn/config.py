"""What the interface has to be: a file that the role writes, read as a whole or not at all."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from homelab_host import document
from homelab_host.errors import Trouble

FILE = Path("/etc/homelab-provision/vpn.json")

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ENDPOINT = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Endpoint:
    """Where a peer is found: a name or an address (of IPv6 without its brackets), and a UDP port."""

    host: str
    port: int

    @property
    def address(self) -> str | None:
        """The host, if it is an address and no name."""
        try:
            return str(ipaddress.ip_address(self.host))
        except ValueError:
            return None


@dataclass(frozen=True)
class Peer:
    """Somebody at the other end. `probe` is an address in the tunnel that answers pings as long as the tunnel works."""

    name: str
    public_key: str
    preshared_key: str = field(repr=False)
    networks: tuple[Network, ...]
    endpoint: Endpoint | None = None
    keepalive: int = 0
    expires: date | None = None
    """The last day on which it may connect, in UTC."""
    probe: str = ""

    def valid_at(self, moment: datetime) -> bool:
        return self.expires is None or moment.astimezone(UTC).date() <= self.expires


@dataclass(frozen=True)
class Dyndns:
    """How a name follows the address of a home: `ask` answers that address as text; the rest is dyndns2."""

    name: str
    ask: str
    update: str = ""
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Pair:
    """Other hosts that are the same server to clients: their addresses, and the floating ones that clients know."""

    addresses: tuple[str, ...]
    others: tuple[str, ...]
    port: int
    """Of UDP, where they tell each other where clients are."""


@dataclass(frozen=True)
class Config:
    """`mtu` is in bytes. `forwards` says whether peers reach more through this host than itself."""

    interface: str
    private_key: str = field(repr=False)
    port: int
    addresses: tuple[Interface, ...]
    mtu: int
    peers: tuple[Peer, ...]
    forwards: bool = False
    firewall: bool = True
    pair: Pair | None = None
    dyndns: Dyndns | None = None
    webhook: str = field(default="", repr=False)
    mail: str = ""
    metrics: str = ""

    def peers_at(self, moment: datetime) -> tuple[Peer, ...]:
        """Those that may connect at this time."""
        return tuple(peer for peer in self.peers if peer.valid_at(moment))


def load(path: Path) -> Config:
    """Raises Trouble that says what is wrong with the file."""
    return document.load(path, parse, "play the role `vpn` on this host: it writes the file from what the site says")


def parse(text: str) -> Config:
    """Raises Trouble. Nothing of a key is in what it says."""
    config = _config(_Reader("", document.decoded(text)))
    _told_apart(config)
    return config


class _Reader(document.Reader):
    def key(self, key: str, *, empty: bool = False) -> str:
        text = self.text(key, "" if empty else None)
        if (text or not empty) and not is_key(text):
            raise self.wrong(key, "a key of WireGuard: 32 bytes in base64, as `wg genkey` makes them")
        return text


def is_key(text: str) -> bool:
    """Whether this is a key as WireGuard writes them."""
    try:
        return len(base64.b64decode(text, validate=True)) == 32 and len(text) == 44
    except (binascii.Error, ValueError):
        return False


def _config(told: _Reader) -> Config:
    interface = told.text("interface")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,14}", interface):
        raise told.wrong("interface", "a name of at most 15 letters and digits")
    return Config(
        interface=interface,
        private_key=told.key("private_key"),
        port=told.number("port", 0, 65535),
        addresses=tuple(_interface(told, each) for each in told.each("addresses")),
        mtu=told.number("mtu", 1280, 9000),
        peers=tuple(_peer(each) for each in told.inners("peers")),
        forwards=told.flag("forwards"),
        firewall=told.flag("firewall"),
        pair=_pair(told),
        dyndns=_dyndns(told),
        webhook=told.text("webhook", ""),
        mail=told.text("mail", ""),
        metrics=told.text("metrics", ""),
    )


def _peer(told: _Reader) -> Peer:
    return Peer(
        name=told.text("name"),
        public_key=told.key("public_key"),
        preshared_key=told.key("preshared_key", empty=True),
        networks=tuple(_network(told, each) for each in told.each("networks")),
        endpoint=_endpoint(told),
        keepalive=told.number("keepalive", 0, 65535),
        expires=_day(told),
        probe=told.text("probe", ""),
    )


def _interface(told: _Reader, value: object) -> Interface:
    try:
        if isinstance(value, str) and "/" in value:
            return ipaddress.ip_interface(value)
    except ValueError:
        pass
    raise told.wrong("addresses", f"an address with the length of its prefix (and not {value!r})")


def _network(told: _Reader, value: object) -> Network:
    try:
        if isinstance(value, str):
            return ipaddress.ip_network(value)
    except ValueError:
        pass
    raise told.wrong("networks", f"a network without bits of a host (and not {value!r})")


def _endpoint(told: _Reader) -> Endpoint | None:
    text = told.text("endpoint", "")
    if not text:
        return None
    found = _ENDPOINT.fullmatch(text)
    if not found or not 0 < int(found["port"]) < 65536:
        raise told.wrong("endpoint", "name:port, address:port or [address]:port")
    return Endpoint(found["host"].strip("[]"), int(found["port"]))


def _day(told: _Reader) -> date | None:
    text = told.text("expires", "")
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise told.wrong("expires", "a day as in 2027-01-31") from None


def _pair(told: _Reader) -> Pair | None:
    if not told.values.get("pair"):
        return None
    own = told.inner("pair")
    found = Pair(_hosts(own, "addresses"), _hosts(own, "others"), own.number("port", 1, 65535))
    if len({":" in other for other in found.others}) > 1:
        raise own.wrong("others", "addresses of one kind, IPv4 or IPv6,")
    return found


def _hosts(told: _Reader, key: str) -> tuple[str, ...]:
    try:
        found = tuple(str(ipaddress.ip_address(each)) for each in told.each(key))
    except ValueError:
        found = ()
    if not found:
        raise told.wrong(key, "a list of addresses")
    return found


def _dyndns(told: _Reader) -> Dyndns | None:
    if not told.values.get("dyndns"):
        return None
    own = told.inner("dyndns")
    return Dyndns(
        own.text("name"), own.text("ask"), own.text("update", ""), own.text("user", ""), own.text("password", "")
    )


def _told_apart(config: Config) -> None:
    """A network leads to one peer, a key is one peer's: WireGuard would take the last of two, and say nothing."""
    keys: dict[str, str] = {}
    ways: dict[Network, str] = {}
    for peer in config.peers:
        if peer.public_key in keys:
            raise Trouble(f"peers {keys[peer.public_key]} and {peer.name} have one key")
        keys[peer.public_key] = peer.name
        for network in peer.networks:
            if network in ways:
                raise Trouble(f"{network} leads to {ways[network]} and to {peer.name}")
            ways[network] = peer.name
