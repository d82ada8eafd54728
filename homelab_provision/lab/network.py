"""The lab's private network, as commands and configuration. Pure: `netns` executes them.

    machines ── taps ── bridge (router, DHCP, DNS)     inside the namespace
                          │ masquerade
                        up0 ═══ veth ═══ hlpv…         the host
                                            │ masquerade
                                          uplink       the world

Addresses are translated twice, so that the lab's addresses never show on the host: they may be those of the real home
network. The host routes from the lab only; it becomes a router for nobody else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from homelab_provision.errors import ProvisionError
from homelab_provision.lab.sudo import Argv, Privilege
from homelab_provision.site.virtual import LabNetwork, slug

INNER = "up0"
OUTER_PREFIX = "hlpv"
BRIDGE_ALIAS = "homelab-provision lab"
# Set aside for benchmarks of network gear (RFC 2544): no home, no VPN and no provider uses it.
_LINKS = IPv4Network("198.18.0.0/15")
_LEASE = "1h"


@dataclass(frozen=True)
class Uplink:
    """The way from the host to the world, and what the lab's own link to the host looks like."""

    interface: str
    mtu: int
    link: IPv4Network
    forwarded_before: bool

    @property
    def outer(self) -> IPv4Address:
        """The host's end of the link."""
        return self.link[1]

    @property
    def inner(self) -> IPv4Address:
        """The lab's end of the link."""
        return self.link[2]


@dataclass(frozen=True)
class Present:
    """What is there already."""

    namespace: bool = False
    inside: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()


def outer_name(network: LabNetwork) -> str:
    """The host's end of the lab's link; 15 characters is all that an interface name can have."""
    return OUTER_PREFIX + hashlib.sha256(network.namespace.encode()).hexdigest()[:8]


def tap_name(machine: str) -> str:
    """The interface, inside the namespace, that a machine's NIC is plugged into."""
    return slug(f"tap-{machine}", 15)


def table_name(network: LabNetwork) -> str:
    """The nftables table of the lab on the host."""
    return "lab_" + network.namespace.replace("-", "_")


def choose_link(namespace: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """A /30 for the link that overlaps nothing in `taken`; the same for the same lab, as long as it is free."""
    busy = [network for network in taken if network.prefixlen > 0]
    slots = _LINKS.num_addresses // 4
    start = int.from_bytes(hashlib.sha256(namespace.encode()).digest()[:4], "big") % slots
    for step in range(slots):
        first = _LINKS[(start + step) % slots * 4]
        candidate = IPv4Network((first, 30))
        if not any(candidate.overlaps(network) for network in busy):
            return candidate
    raise ProvisionError(f"every address of {_LINKS} is in use on this computer; the lab finds none for its own link")


def up_commands(network: LabNetwork, taps: Mapping[str, str], present: Present, who: Privilege) -> list[Argv]:
    """Make the namespace, the bridge, and one tap per machine, by the bridge that it belongs to; only what is missing.

    Bridges other than the lab's own have no address, and are served by whoever wants them.
    """
    name, bridge = network.namespace, network.bridge

    def inside(*words: str) -> Argv:
        return who.root("ip", "-n", name, *words)

    commands: list[Argv] = []
    if not present.namespace:
        commands.append(who.root("ip", "netns", "add", name))
    commands += [
        inside("link", "set", "lo", "up"),
        who.inside(name, "sysctl", "-qw", "net.ipv4.ip_forward=1"),
    ]
    for each in dict.fromkeys([bridge, *taps.values()]):
        if each not in present.inside:
            # Snooping without a querier loses the multicast by which IPv6 neighbours and VRRP find each other.
            options = ("type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
            commands += [inside("link", "add", each, *options), inside("link", "set", each, "up")]
    commands += [
        inside("addr", "replace", str(network.router), "dev", bridge),
        inside("link", "set", bridge, "alias", BRIDGE_ALIAS),
    ]
    for tap, plugged_into in taps.items():
        if tap not in present.inside:
            commands.append(inside("tuntap", "add", "dev", tap, "mode", "tap", "user", str(who.uid)))
        commands.append(inside("link", "set", tap, "master", plugged_into, "up"))
    return commands


def link_commands(network: LabNetwork, uplink: Uplink, present: Present, who: Privilege) -> list[Argv]:
    """Join the namespace to the host, and have the host forward between the lab and its uplink.

    Forwarding is switched on for these two interfaces, not for the host: its global switch belongs to others (Docker).
    """
    name, outer, mtu = network.namespace, outer_name(network), str(uplink.mtu)
    commands: list[Argv] = []
    if outer not in present.outside:
        commands.append(who.root("ip", "link", "add", outer, "type", "veth", "peer", "name", INNER, "netns", name))
    return [
        *commands,
        who.root("ip", "link", "set", outer, "alias", alias(network, uplink)),
        who.root("ip", "link", "set", outer, "mtu", mtu, "up"),
        who.root("ip", "addr", "replace", f"{uplink.outer}/30", "dev", outer),
        who.root("ip", "-n", name, "link", "set", INNER, "mtu", mtu, "up"),
        who.root("ip", "-n", name, "addr", "replace", f"{uplink.inner}/30", "dev", INNER),
        who.root("ip", "-n", name, "route", "replace", "default", "via", str(uplink.outer)),
        *(who.root("sysctl", "-qw", f"net/ipv4/conf/{end}/forwarding=1") for end in (outer, uplink.interface)),
    ]


def alias(network: LabNetwork, uplink: Uplink) -> str:
    """What the link remembers, where it cannot outlive what it speaks of: how the uplink was before the first lab."""
    return f"lab {network.namespace}: {uplink.interface} forwarding was {int(uplink.forwarded_before)}"


def remembered(text: str) -> tuple[str, bool] | None:
    """The uplink and its forwarding before the first lab, from the alias of any lab's link."""
    match = re.fullmatch(r"lab \S+: (\S+) forwarding was ([01])", text)
    return (match[1], match[2] == "1") if match else None


def inner_rules(network: LabNetwork, uplink: Uplink) -> str:
    """nftables for the namespace. Full-sized segments would not fit an uplink with a smaller MTU."""
    clamp = f"tcp flags & (syn|rst) == syn tcp option maxseg size set {uplink.mtu - 40}"
    return f"""\
table ip lab
delete table ip lab
table ip lab {{
  chain postrouting {{
    type nat hook postrouting priority 100;
    ip saddr {network.subnet} oifname "{INNER}" masquerade
  }}
  chain forward {{
    type filter hook forward priority -150;
    iifname "{INNER}" {clamp}
    oifname "{INNER}" {clamp}
  }}
}}
"""


def outer_rules(network: LabNetwork, uplink: Uplink) -> str:
    """nftables for the host, in a table of the lab's own: the lab gets out, nobody gets in."""
    table, outer = table_name(network), outer_name(network)
    # A host that forwarded nothing from its uplink still forwards nothing new; what Docker publishes is left alone.
    closed = f'iifname "{uplink.interface}" ct state new ct status & dnat == 0 drop'
    return f"""\
table ip {table}
delete table ip {table}
table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority 100;
    ip saddr {uplink.link} oifname != "{outer}" masquerade
  }}
  chain forward {{
    type filter hook forward priority 0;
    iifname "{outer}" accept
    oifname "{outer}" ct state established,related accept
    oifname "{outer}" drop
    {"" if uplink.forwarded_before else closed}
  }}
}}
"""


def accept_rules(network: LabNetwork) -> tuple[Argv, ...]:
    """For hosts whose own iptables drop what they forward (Docker, ufw): rules for their FORWARD chain."""
    outer = outer_name(network)
    note = ("-m", "comment", "--comment", f"lab {network.namespace}")
    return (
        ("-i", outer, *note, "-j", "ACCEPT"),
        ("-o", outer, "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", *note, "-j", "ACCEPT"),
    )


def dnsmasq_config(
    network: LabNetwork,
    reservations: Mapping[str, IPv4Address],
    resolvers: Iterable[str],
    folder: Path,
    user: str,
    group: str,
) -> str:
    """The configuration of the lab's DHCP and DNS server; its files lie in `folder`."""
    first, last = network.leases
    lines = [
        f"interface={network.bridge}",
        "except-interface=lo",
        "bind-interfaces",
        # It keeps its files in the user's state folder.
        f"user={user}",
        f"group={group}",
        "no-resolv",
        "no-hosts",
        *(f"server={resolver}" for resolver in resolvers),
        f"domain={network.domain}",
        f"local=/{network.domain}/",
        "dhcp-authoritative",
        # The rescue and the installed system call themselves differently; the box is the same.
        "dhcp-ignore-clid",
        f"dhcp-range={first},{last},{network.subnet.netmask},{_LEASE}",
        *(f"dhcp-host={mac},{address}" for mac, address in sorted(reservations.items())),
        f"dhcp-leasefile={folder / 'dnsmasq.leases'}",
        f"log-facility={folder / 'dnsmasq.log'}",
        "log-dhcp",
        f"pid-file={folder / 'dnsmasq.pid'}",
    ]
    return "\n".join(lines) + "\n"


def parse_leases(lines: Iterable[str]) -> dict[str, IPv4Address]:
    """MAC to address, from dnsmasq's file of leases (`expiry mac address name client-id` in a line)."""
    words = [line.split() for line in lines]
    return {word[1]: IPv4Address(word[2]) for word in words if len(word) == 5 and word[2].count(".") == 3}
