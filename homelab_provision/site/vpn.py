"""The site's VPN (inventory variable `provision_vpn`): what its tunnel is, and who may connect."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import date, datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from homelab_provision.site.document import Document, KeyPath
from homelab_provision.site.problems import Problem
from homelab_provision.site.values import SecretName, computer_address, expected, no_bool
from homelab_provision.site.wireguard import is_key
from homelab_provision.text import did_you_mean

# Whose keys are called so, and what YAML makes of other words than these.
SERVER = "server"
_NOT_NAMES = (SERVER, "true", "false", "null")
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_NETWORK_EXPECTED = "a network with the length of its prefix, as in 192.168.50.0/24"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _client_name(name: str) -> str:
    if name in _NOT_NAMES:
        raise expected(f"another name than {', '.join(_NOT_NAMES)}")
    return name


def _network(value: object) -> object:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    address, slash, length = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash or not re.fullmatch(r"\d{1,3}", length) or "%" in address:
        raise expected(_NETWORK_EXPECTED)
    try:
        network = ip_network(f"{address}/{length}", strict=False)
    except ValueError:
        raise expected(_NETWORK_EXPECTED) from None
    if network.network_address != ip_address(address):
        raise expected(f"a network, as {network} is ({address} is an address in it)")
    shortest = 8 if network.version == 4 else 16
    if network.prefixlen < shortest:
        raise expected(f"a network of a home: a prefix of /{shortest} or longer")
    computer_address(network.network_address)
    return network


def _with_room(network: Network) -> Network:
    longest = 30 if network.version == 4 else 126
    if network.prefixlen > longest:
        raise expected(f"a network with room for a server and a client: a prefix of /{longest} or shorter")
    return network


def _address(value: object) -> object:
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    try:
        address = ip_address(value) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        address = None
    if address is None:
        raise expected("an address, as in 192.168.50.53")
    return computer_address(address)


def _endpoint(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        if not _NAME.fullmatch(text) or text.rpartition(".")[2].isdigit() or "%" in text:
            raise expected(
                "a name or an address by which the home is found from outside, as in home.example.org; its port "
                "stands in `port`"
            ) from None
        return text
    computer_address(address)
    return text


def _day(value: object) -> object:
    """Ansible makes a date of a day that has no quotes."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str) and _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise expected("a day, the last on which it may connect, as in 2027-01-31")


def _public_key(text: str) -> str:
    if not is_key(text):
        raise expected("a public key of WireGuard as `wg pubkey` prints it: 44 characters, the last one is =")
    return text


WrittenNetwork = Annotated[Network, BeforeValidator(_network)]
Number = Annotated[int, Field(ge=2), BeforeValidator(no_bool)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Tunnel(StrEnum):
    """What a client sends through the tunnel."""

    SPLIT = "split"
    FULL = "full"


class Client(_Frozen):
    """A device, or a host of the site, that may connect."""

    number: Number
    """Its address is the one with this number in each of the networks."""
    tunnel: Tunnel = Tunnel.SPLIT
    expires: Annotated[date, BeforeValidator(_day)] | None = None
    """The last day on which it may connect (UTC)."""
    revoked: bool = False
    host: str | None = None
    """The host of the inventory that it is: role `vpn` sets it up."""
    public_key: Annotated[str, AfterValidator(_public_key)] | None = None
    """Of a device that made its key itself: the vault knows no private one."""

    def expired(self, today: date) -> bool:
        return self.expires is not None and self.expires < today


class Vpn(_Frozen):
    """One WireGuard tunnel into the home."""

    endpoint: Annotated[str, AfterValidator(_endpoint)]
    """Name or address by which clients find the home."""
    port: Annotated[int, Field(ge=1, le=65535), BeforeValidator(no_bool)] = 51820
    """What the home's router forwards (UDP)."""
    networks: Annotated[tuple[Annotated[WrittenNetwork, AfterValidator(_with_room)], ...], Field(min_length=1)]
    """Of the tunnel: one of IPv4, at most one of IPv6. Number 1 is the server."""
    reaches: tuple[WrittenNetwork, ...] = ()
    """Networks behind the server, to which a split tunnel leads."""
    dns: tuple[Annotated[Address, BeforeValidator(_address)], ...] = ()
    search: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")] | None = None
    mtu: Annotated[int, Field(ge=1280, le=9000), BeforeValidator(no_bool)] | None = None
    keepalive: Annotated[int, Field(ge=0, le=65535), BeforeValidator(no_bool)] = 25
    """Seconds between packets that keep routers on the way from forgetting the client; 0: none."""
    clients: dict[Annotated[SecretName, AfterValidator(_client_name)], Client] = {}

    def addresses(self, number: int) -> tuple[Address, ...]:
        """The address of this number in each network. Raises IndexError."""
        return tuple(network[number] for network in self.networks)


def check_vpn(vpn: Vpn, hosts: Collection[str], document: Document, path: KeyPath) -> Iterator[Problem]:
    """What is wrong with a description whose values are each well. It stands at `path` in `document`; `hosts` are all
    of the inventory."""

    def problem(*below: Any, message: str, expected: str, suggestion: str | None = None) -> Problem:
        return document.problem((*path, *below), message, expected=expected, suggestion=suggestion, at_value=True)

    yield from (problem(*below, message=message, expected=wanted) for below, message, wanted in _networks(vpn))
    seen: dict[tuple[str, object], str] = {}
    for name, client in vpn.clients.items():
        for key in ("number", "host", "public_key"):
            value = getattr(client, key)
            other = name if value is None else seen.setdefault((key, value), name)
            if other != name:
                what = {"number": "the number", "host": "the host", "public_key": "the key"}[key]
                message = f"`{value}` is {what} of `{other}` already"
                yield problem("clients", name, key, message=message, expected="one for each client")
        for network in vpn.networks:
            last = network.num_addresses - (2 if network.version == 4 else 1)  # an IPv4 network ends in its broadcast
            if client.number > last:
                message, wanted = f"`{client.number}` is not in {network}", f"a number from 2 to {last}"
                yield problem("clients", name, "number", message=message, expected=wanted)
        if client.host is None:
            continue
        if client.host not in hosts:
            message, near = f"there is no host `{client.host}`", did_you_mean(client.host, hosts)
            yield problem("clients", name, "host", message=message, expected="a host of the inventory", suggestion=near)
        if client.tunnel is not Tunnel.SPLIT:
            message, wanted = f"`{client.tunnel}` does not fit", "split: a host of the site keeps its own way out"
            yield problem("clients", name, "tunnel", message=message, expected=wanted)
        if client.public_key is not None:
            message, wanted = "a host has no key of its own", "no such key here: the vault makes the keys of hosts"
            yield problem("clients", name, "public_key", message=message, expected=wanted)


def _networks(vpn: Vpn) -> Iterator[tuple[KeyPath, str, str]]:
    """What is wrong with the networks and addresses: where, what, and what belongs there."""
    for version, least in ((4, 1), (6, 0)):
        those = [(at, network) for at, network in enumerate(vpn.networks) if network.version == version]
        if len(those) < least:
            yield ("networks",), "there is no IPv4 network", "one IPv4 network, and at most one IPv6 network"
        for at, network in those[1:]:
            yield ("networks", at), f"`{network}` is a second one of IPv{version}", "one of IPv4, at most one of IPv6"
    for at, reached in enumerate(vpn.reaches):
        for network in vpn.networks:
            if reached.version == network.version and reached.overlaps(network):
                wanted = f"a network behind the server, apart from the tunnel's own {network}"
                yield ("reaches", at), f"`{reached}` overlaps the tunnel", wanted
    asking = {name: client for name, client in vpn.clients.items() if not (client.host or client.revoked)}
    split = [name for name, client in asking.items() if client.tunnel is Tunnel.SPLIT]
    for at, address in enumerate(vpn.dns):
        if split and not any(address in network for network in (*vpn.networks, *vpn.reaches)):
            wanted = f"an address in `networks` or `reaches`: `{split[0]}` has a split tunnel, and asks through it"
            yield ("dns", at), f"`{address}` is not reached through the tunnel", wanted
    if vpn.search and not vpn.dns:
        yield ("search",), "nobody is asked for names", "`dns` beside it"
