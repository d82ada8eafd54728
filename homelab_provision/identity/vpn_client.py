"""What a client of the VPN gets: its configuration, as `wg-quick` and the apps of WireGuard read it."""

from __future__ import annotations

from datetime import date
from ipaddress import IPv6Address, ip_address

from homelab_provision.errors import Refused
from homelab_provision.identity.vpn import ClientKeys, VpnKeys
from homelab_provision.site.vpn import Client, Tunnel, Vpn

EVERYTHING = ("0.0.0.0/0", "::/0")  # IPv6 also where the tunnel has none: it must not go past it
OWN_KEY = "# PrivateKey = (here the device puts its own private key, the one that belongs to {public})"


def require_file(name: str, client: Client, today: date) -> None:
    """Raises Refused for a client that gets no file: it may not connect, or is set up by a role."""
    if client.revoked:
        raise Refused(
            f"`{name}` is revoked: it cannot connect",
            hint="a new device gets a name and a number of its own; or take `revoked` away and "
            f"`provision vpn rekey {name}`",
        )
    if client.expired(today):
        raise Refused(
            f"`{name}` may not connect any more: its last day was {client.expires}",
            hint="give it a later day (`expires` in `provision_vpn`), then `provision apply`",
        )
    if client.host:
        raise Refused(
            f"`{name}` is the host `{client.host}`: role vpn sets it up", hint=f"provision apply {client.host}"
        )


def configuration(vpn: Vpn, name: str, keys: VpnKeys) -> str:
    """The file of a client, with its private key (but for a device that has made that itself)."""
    client, own = vpn.clients[name], keys.clients[name]
    addresses = ", ".join(f"{address}/{address.max_prefixlen}" for address in vpn.addresses(client.number))
    lines = ["[Interface]", _private(own), f"Address = {addresses}"]
    if vpn.dns:
        lines.append("DNS = " + ", ".join([*map(str, vpn.dns), *([vpn.search] if vpn.search else [])]))
    if vpn.mtu:
        lines.append(f"MTU = {vpn.mtu}")
    lines += [
        "",
        "[Peer]",
        f"PublicKey = {keys.server}",
        f"PresharedKey = {own.shared}",
        f"AllowedIPs = {', '.join(led(vpn, client))}",
        f"Endpoint = {_endpoint(vpn)}",
    ]
    if vpn.keepalive:
        lines.append(f"PersistentKeepalive = {vpn.keepalive}")
    return "\n".join(lines) + "\n"


def led(vpn: Vpn, client: Client) -> tuple[str, ...]:
    """What a client sends through the tunnel."""
    if client.tunnel is Tunnel.FULL:
        return EVERYTHING
    return tuple(dict.fromkeys(map(str, (*vpn.networks, *vpn.reaches))))


def _private(keys: ClientKeys) -> str:
    return f"PrivateKey = {keys.private}" if keys.private else OWN_KEY.format(public=keys.public)


def _endpoint(vpn: Vpn) -> str:
    try:
        bracketed = isinstance(ip_address(vpn.endpoint), IPv6Address)
    except ValueError:  # a name
        bracketed = False
    return f"[{vpn.endpoint}]:{vpn.port}" if bracketed else f"{vpn.endpoint}:{vpn.port}"
