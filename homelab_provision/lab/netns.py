"""Makes and removes the lab's network on this host. Thin: what to do is decided in `network`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Interface, IPv4Network, ip_address
from pathlib import Path
from typing import Any

from homelab_provision.doors.process import Completed, environment, run
from homelab_provision.lab.network import (
    BRIDGE_ALIAS,
    OUTER_PREFIX,
    Present,
    Uplink,
    accept_rules,
    choose_link,
    inner_rules,
    link_commands,
    outer_name,
    outer_rules,
    remembered,
    table_name,
    up_commands,
)
from homelab_provision.lab.sudo import Privilege
from homelab_provision.site.virtual import LabNetwork

_SECONDS = 20.0
_NAMESPACES = Path("/run/netns")
_RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def namespace_exists(name: str) -> bool:
    """Whether a network namespace of this name is there (a left-over file that holds none does not count)."""
    path = _NAMESPACES / name
    return path.exists() and path.stat().st_dev != _NAMESPACES.stat().st_dev


def raise_network(network: LabNetwork, taps: Mapping[str, str], who: Privilege) -> list[str]:
    """Make whatever of the network is missing; returns what it changed on the host itself, in words."""
    present = _present(network, who)
    if not present.namespace and (_NAMESPACES / network.namespace).exists():
        _do(who.root("ip", "netns", "delete", network.namespace))
    for argv in up_commands(network, taps, present, who):
        _do(argv)
    if not network.outside:
        return _disconnect(network, who)
    uplink = find_uplink(network)
    if uplink is None:
        return ["this computer has no way to the internet at the moment, so the lab has none either"]
    for argv in link_commands(network, uplink, present, who):
        _do(argv)
    _do(who.inside(network.namespace, "nft", "-f", "-"), input=inner_rules(network, uplink))
    _do(who.root("nft", "-f", "-"), input=outer_rules(network, uplink))
    _accept(network, who)
    if uplink.forwarded_before or outer_name(network) in present.outside:
        return []
    return [f"{uplink.interface} now forwards IPv4 for the lab; `provision lab down` ends that"]


def lower_network(network: LabNetwork, who: Privilege) -> list[str]:
    """Remove the network; returns what it restored on the host itself, in words."""
    notes = _disconnect(network, who)
    if (_NAMESPACES / network.namespace).exists():
        _do(who.root("ip", "netns", "delete", network.namespace))
    return notes


def find_uplink(network: LabNetwork) -> Uplink | None:
    """How this host reaches the world; `None` if it does not."""
    defaults = sorted(_json("ip", "-j", "-4", "route", "show", "default"), key=lambda route: route.get("metric", 0))
    if not defaults:
        return None
    interface = defaults[0]["dev"]
    mtu = _json("ip", "-j", "link", "show", "dev", interface)[0]["mtu"]
    known = [memory for memory in map(remembered, _aliases().values()) if memory and memory[0] == interface]
    before = known[0][1] if known else _switch(f"conf/{interface}/forwarding")
    return Uplink(interface, mtu, _link(network), before)


def resolvers(files: Iterable[Path] = _RESOLVER_FILES) -> list[str]:
    """The name servers of this host that can be asked from another namespace: those that are not the host itself."""
    for file in files:
        words = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        servers = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
        if found := [server for server in servers if _is_elsewhere(server)]:
            return found
    return []


def processes_inside(network: LabNetwork, who: Privilege) -> list[int]:
    """The processes that live in the namespace."""
    if not namespace_exists(network.namespace):
        return []
    return [int(pid) for pid in _do(who.root("ip", "netns", "pids", network.namespace)).stdout.split()]


def running_namespaces(who: Privilege) -> tuple[str, ...]:
    """The namespaces that hold a lab, of whatever site."""
    names = sorted(path.name for path in _NAMESPACES.glob("*") if namespace_exists(path.name))
    return tuple(name for name in names if any(link.get("ifalias") == BRIDGE_ALIAS for link in _links_in(name, who)))


def _links_in(namespace: str, who: Privilege) -> list[dict[str, Any]]:
    return _json(*who.root("ip", "-j", "-n", namespace, "link", "show"))


def _present(network: LabNetwork, who: Privilege) -> Present:
    outside = frozenset(link["ifname"] for link in _json("ip", "-j", "link", "show"))
    if not namespace_exists(network.namespace):
        return Present(outside=outside)
    inside = frozenset(link["ifname"] for link in _links_in(network.namespace, who))
    return Present(True, inside, outside)


def _disconnect(network: LabNetwork, who: Privilege) -> list[str]:
    """Cut the link to the host and undo everything on the host that was for its sake."""
    aliases = _aliases()
    outer = outer_name(network)
    memory = remembered(aliases.pop(outer, ""))
    if outer in {link["ifname"] for link in _json("ip", "-j", "link", "show")}:
        _do(who.root("ip", "link", "delete", outer))
    _do(who.root("nft", "delete", "table", "ip", table_name(network)), check=False)
    _unaccept(network, who)
    if memory is None or memory[1] or any(map(remembered, aliases.values())):
        return []
    # Whoever switched the whole host to forwarding since then wants the uplink to forward, too.
    if _switch("ip_forward") or not _switch(f"conf/{memory[0]}/forwarding"):
        return []
    _do(who.root("sysctl", "-qw", f"net/ipv4/conf/{memory[0]}/forwarding=0"))
    return [f"{memory[0]} no longer forwards IPv4, as before the lab"]


def _accept(network: LabNetwork, who: Privilege) -> None:
    """Let the lab through a firewall that drops what is forwarded; `iptables` is not touched where it does not."""
    policy = _forwarding(who)
    if "-P FORWARD DROP" not in policy and "DOCKER" not in policy:
        return
    for rule in accept_rules(network):
        if _do(who.root("iptables", "-w", "-C", "FORWARD", *rule), check=False).returncode != 0:
            _do(who.root("iptables", "-w", "-I", "FORWARD", *rule))


def _unaccept(network: LabNetwork, who: Privilege) -> None:
    if outer_name(network) in _forwarding(who):
        for rule in accept_rules(network):
            _do(who.root("iptables", "-w", "-D", "FORWARD", *rule), check=False)


def _link(network: LabNetwork) -> IPv4Network:
    """The addresses of the link: those that it has, or free ones."""
    addresses = _json("ip", "-j", "-4", "addr", "show")
    taken = [network.subnet]
    for interface in addresses:
        for entry in interface["addr_info"]:
            subnet = IPv4Interface(f"{entry['local']}/{entry['prefixlen']}").network
            if interface["ifname"] == outer_name(network):
                return subnet
            taken.append(subnet)
    routes = _json("ip", "-j", "-4", "route", "show", "table", "all")
    taken += [IPv4Network(route["dst"], strict=False) for route in routes if route["dst"][0].isdigit()]
    return choose_link(network.namespace, taken)


def _aliases() -> dict[str, str]:
    """What the labs' links remember, by interface."""
    links = _json("ip", "-j", "link", "show")
    return {link["ifname"]: link.get("ifalias", "") for link in links if link["ifname"].startswith(OUTER_PREFIX)}


def _switch(name: str) -> bool:
    return Path("/proc/sys/net/ipv4", name).read_text().strip() == "1"


def _is_elsewhere(server: str) -> bool:
    try:
        address = ip_address(server.split("%")[0])
    except ValueError:
        return False
    return address.version == 4 and not address.is_loopback


def _forwarding(who: Privilege) -> str:
    """What iptables say of what is forwarded; nothing where there are none."""
    if shutil.which("iptables", path=environment()["PATH"]) is None:
        return ""
    return _do(who.root("iptables", "-w", "-S", "FORWARD"), check=False).stdout


def _json(*argv: str) -> list[dict[str, Any]]:
    text = _do(argv).stdout.strip()
    # `ip -j` prints empty objects for what it decided not to show.
    return [entry for entry in json.loads(text or "[]") if entry]


def _do(argv: tuple[str, ...], *, input: str | None = None, check: bool = True) -> Completed:
    return run(argv, deadline=_SECONDS, input=input, check=check)
