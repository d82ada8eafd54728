"""What the site says of its VPN (`provision_vpn`), in the words of the role `vpn`, for one host."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SERVER = 1
KEEPALIVE, MTU, PORT = 25, 1420, 51820


def vpn_of(site: Mapping[str, Any], host: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """The variables of the role `vpn` for a host, without `vpn_`; nothing where the site has no VPN.

    `keys` are what the vault has (`secret_vpn_…`, `public_vpn_…`), by their names. A client's host looks for the
    servers; every other one is a server, and several of them are one to the clients: same key, same address.
    """
    if not site:
        return {}
    clients = {name: dict(values or {}) for name, values in (site.get("clients") or {}).items()}
    own = [name for name, values in clients.items() if values.get("host") == host]
    return _client(site, own[0], clients[own[0]], keys) if own else _server(site, clients, keys)


def vpn_pair_of(floating: Sequence[Mapping[str, Any]], host: str, hosts: Mapping[str, str]) -> dict[str, Any]:
    """What the role `vpn` is told of a server's twins: who shares an address with it that goes where WireGuard works.

    `floating` are the addresses that this host may have, `hosts` where each host answers.
    """
    shared = [
        entry
        for entry in floating
        if host in entry["hosts"] and any(check["kind"] == "wireguard" for check in entry["check"])
    ]
    others = sorted({other for entry in shared for other in entry["hosts"]} - {host})
    addresses = [text.partition("/")[0] for entry in shared for text in (entry["address"], *(entry.get("also") or []))]
    return {"addresses": addresses, "others": [hosts[other] for other in others if other in hosts]} if shared else {}


def _server(site: Mapping[str, Any], clients: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    present = {name: values for name, values in clients.items() if not values.get("revoked")}
    everywhere = ["0.0.0.0/0", "::/0"] if any(values.get("tunnel") == "full" for values in present.values()) else []
    peers = [
        {
            "name": name,
            "public_key": values.get("public_key") or keys.get(f"public_vpn_{name}", ""),
            "preshared_key": keys.get(f"secret_vpn_shared_{name}", ""),
            "networks": _addresses(site, values["number"]),
            "expires": str(values.get("expires") or ""),
        }
        for name, values in present.items()
    ]
    return {
        "addresses": _addresses(site, SERVER, whole=True),
        "private_key": keys.get("secret_vpn_private_server", ""),
        "port": site.get("port", PORT),
        "mtu": site.get("mtu", MTU),
        "reaches": [*site.get("reaches", []), *everywhere],
        "peers": peers,
    }


def _client(site: Mapping[str, Any], name: str, values: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    found_at = f"[{site['endpoint']}]" if ":" in site["endpoint"] else site["endpoint"]
    server = {
        "name": "home",
        "public_key": keys.get("public_vpn_server", ""),
        "preshared_key": keys.get(f"secret_vpn_shared_{name}", ""),
        "networks": [*site["networks"], *site.get("reaches", [])],
        "endpoint": f"{found_at}:{site.get('port', PORT)}",
        "keepalive": site.get("keepalive", KEEPALIVE),
        "probe": _addresses(site, SERVER)[0].partition("/")[0],
    }
    return {
        "addresses": _addresses(site, values["number"], whole=True),
        "private_key": keys.get(f"secret_vpn_private_{name}", ""),
        "port": 0,
        "mtu": site.get("mtu", MTU),
        "reaches": [],
        "peers": [] if values.get("revoked") else [server],
    }


def _addresses(site: Mapping[str, Any], number: int, *, whole: bool = False) -> list[str]:
    """The addresses of a number, one in each network: alone, or with the prefix of the whole network."""
    found = []
    for text in site["networks"]:
        network = ipaddress.ip_network(text)
        found.append(f"{network[number]}/{network.prefixlen if whole else network.max_prefixlen}")
    return found


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"vpn_of": vpn_of, "vpn_pair_of": vpn_pair_of}
