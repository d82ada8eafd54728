"""What of the host the interface needs, beside WireGuard itself: each is looked at, and mended where it differs."""

from __future__ import annotations

import ipaddress
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from homelab_host.errors import Trouble

from .config import Config, Interface, Network
from .process import must, run

SYSCTL, PROC = Path("/proc/sys/net"), Path("/proc/net")
# IFA_F_TENTATIVE: somebody else may turn out to have it.
TENTATIVE = 0x40
FORWARDING = {"IPv4": "ipv4/ip_forward", "IPv6": "ipv6/conf/all/forwarding"}
# Of the role's own rules, one that is there as long as they are (templates/vpn.nft.j2).
CHAIN = ["nft", "list", "chain", "inet", "homelab", "vpn_forward"]


def make_interface(name: str) -> None:
    """By the kernel, or where that cannot, by wireguard-go, if the host has it."""
    done = run(["ip", "link", "add", "dev", name, "type", "wireguard"])
    if done.status == 0:
        return
    if shutil.which("wireguard-go") is None:
        raise Trouble(f"this kernel makes no WireGuard interface: {done.last_word}", "has a new kernel been installed?")
    must(["wireguard-go", name])


def addresses(config: Config) -> Iterator[str]:
    """Switch the interface on, and give it its addresses; yields what was not so."""
    [link] = _json("ip", "-json", "address", "show", "dev", config.interface)
    if "UP" not in link["flags"]:
        must(["ip", "link", "set", "dev", config.interface, "up"])
        yield f"{config.interface} was down"
    present = {
        ipaddress.ip_interface(f"{each['local']}/{each['prefixlen']}")
        for each in link["addr_info"]
        if each.get("scope") != "link"
    }
    for address in sorted(present - set(config.addresses), key=str):
        must(["ip", "address", "delete", str(address), "dev", config.interface])
        yield f"{config.interface} had the address {address}"
    for address in config.addresses:
        if address.version == 6:
            yield from _switched(f"ipv6/conf/{config.interface}/disable_ipv6", "0", f"{config.interface} had no IPv6")
        if address not in present:
            must(["ip", "address", "replace", str(address), "dev", config.interface, *_at_once(address)])
            yield f"{config.interface} lacked the address {address}"


def _at_once(address: Interface) -> list[str]:
    """Nobody else can have an address of a tunnel, so nobody is asked."""
    return ["nodad"] if address.version == 6 else []


def own_addresses() -> set[str]:
    """All addresses that this host answers for. No program is asked: it is a question for several times a second."""
    lines = [line.split() for line in (PROC / "fib_trie").read_text().splitlines()]
    found = {lines[at - 1][-1] for at, words in enumerate(lines) if words[1:] == ["host", "LOCAL"]}
    try:
        lines = [line.split() for line in (PROC / "if_inet6").read_text().splitlines()]
    except FileNotFoundError:  # a kernel without IPv6
        return found
    return found | {
        str(ipaddress.IPv6Address(bytes.fromhex(number)))
        for number, _, _, _, flags, _ in lines
        if not int(flags, 16) & TENTATIVE
    }


def mtu(interface: str) -> int:
    return int(_json("ip", "-json", "link", "show", "dev", interface)[0]["mtu"])


def set_mtu(interface: str, size: int) -> None:
    must(["ip", "link", "set", "dev", interface, "mtu", str(size)])


def routes(config: Config, networks: set[Network]) -> Iterator[str]:
    """Lead to peers' networks through the interface, and nowhere else; yields what was not so.

    What its own addresses lead to is there by itself, and a way to everywhere is not for a host to take.
    """
    wanted = {network for network in networks if network.prefixlen and not _covered(network, config)}
    present = set()
    for version in ("-4", "-6"):
        for route in _json("ip", "-json", version, "route", "show", "dev", config.interface, "proto", "static"):
            present.add(ipaddress.ip_network(route["dst"]) if route["dst"] != "default" else None)
    way = ("dev", config.interface, "proto", "static")
    for network in sorted(wanted - present, key=str):
        must(["ip", f"-{network.version}", "route", "replace", str(network), *way])
        yield f"no way led to {network}"
    for gone in sorted((each for each in present - wanted if each), key=str):
        must(["ip", f"-{gone.version}", "route", "delete", str(gone), *way])
        yield f"a way led to {gone}"


def _covered(network: Network, config: Config) -> bool:
    own = [address.network for address in config.addresses if address.version == network.version]
    return any(network.subnet_of(each) for each in own)  # type: ignore[arg-type]


def forwarding(config: Config) -> Iterator[str]:
    """Pass on packets between interfaces, if peers reach more than this host; yields what was not so."""
    versions = {f"IPv{address.version}" for address in config.addresses}
    for version in sorted(versions if config.forwards else ()):
        yield from _switched(FORWARDING[version], "1", f"forwarding of {version} was switched off")


def _switched(name: str, value: str, otherwise: str) -> Iterator[str]:
    """Have a switch of the kernel stand as it has to; yields the words for what was otherwise."""
    switch = SYSCTL / name
    if switch.read_text().strip() != value:
        switch.write_text(f"{value}\n")
        yield otherwise


def firewall(config: Config) -> Iterator[str]:
    """The host's firewall with the rules of the role in it; yields what was not so."""
    if not config.firewall or run(CHAIN).status == 0:
        return
    must(["systemctl", "reload-or-restart", "nftables.service"], seconds=60)
    if run(CHAIN).status:
        raise Trouble(
            "the rules of the VPN are not in the firewall, although it was loaded anew",
            "cat /run/homelab-firewall.failed; journalctl -u nftables",
        )
    yield "the rules of the VPN were not in the firewall"


def docker(config: Config) -> Iterator[str]:
    """Docker drops what is forwarded and not its own, where it switched forwarding on; yields what was not so."""
    if not config.forwards or shutil.which("iptables") is None:
        return
    for program in ("iptables", "ip6tables"):
        told = run([program, "-w", "-S", "FORWARD"])
        if told.status or "-P FORWARD DROP" not in told.out:
            continue
        for way in ("-i", "-o"):
            rule = [way, config.interface, "-m", "comment", "--comment", "homelab-vpn", "-j", "ACCEPT"]
            if run([program, "-w", "-C", "FORWARD", *rule]).status:
                must([program, "-w", "-I", "FORWARD", *rule])
                yield f"Docker's {program} dropped what goes through {config.interface}"


def _json(*argv: str) -> list[dict[str, Any]]:
    # `ip -json` prints empty objects for what it decided not to show, and nothing for an empty list.
    return [entry for entry in json.loads(must(argv).strip() or "[]") if entry]
