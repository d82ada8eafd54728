"""How the controller reaches a site's machines: at home directly, in the lab through its namespace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Address

from homelab_provision import paths
from homelab_provision.doors.neighbours import neighbours
from homelab_provision.doors.process import run
from homelab_provision.doors.ssh import Door
from homelab_provision.errors import UsageError
from homelab_provision.events import Emit, discard
from homelab_provision.image.rescue import build_rescue
from homelab_provision.lab.accel import choose
from homelab_provision.lab.lab import Lab
from homelab_provision.lab.qemu import Accel
from homelab_provision.lab.seat import seat
from homelab_provision.lab.sudo import Argv, Privilege
from homelab_provision.site.models import Machine, Site


def lab_of(site: Site, emit: Emit = discard, *, starts: bool = True) -> Lab:
    """The lab of a virtual site. With `starts`, machines may be started: it is found out how, with a kernel of ours."""
    if site.lab is None:
        raise UsageError(f"{site.name} is not a lab: its machines.yml has no `lab:`")
    return Lab(
        site.lab,
        {name: machine.lab for name, machine in site.machines.items() if machine.lab},
        {machine.passport.macs[0]: machine.address for machine in site.machines.values() if machine.address},
        paths.lab(site.lab.namespace),
        choose(paths.cache(), lambda: build_rescue(paths.cache(), emit).kernel) if starts else Accel.TCG,
    )


def door(site: Site) -> Door:
    """The way for programs of the controller onto the site's network."""
    if site.lab is None:
        return Door()
    return Door(Privilege.current().inside(site.lab.namespace))


@dataclass(frozen=True)
class Wire:
    """Where the controller stands on the machines' network, for what it serves to those that have no system yet."""

    interface: str
    address: IPv4Interface
    who: Privilege
    namespace: str | None = None

    def root(self, *argv: str) -> Argv:
        """`argv` as root, there."""
        return self.who.inside(self.namespace, *argv) if self.namespace else self.who.root(*argv)

    def user(self, *argv: str) -> Argv:
        """`argv` as the user, there."""
        return self.who.inside_as_user(self.namespace, *argv) if self.namespace else argv


@contextmanager
def wire(site: Site) -> Iterator[Wire]:
    """The controller's own place on the site's network. In the lab it gets one that is not the router's."""
    who = Privilege.current()
    if site.lab:
        with seat(site.lab, who) as (namespace, interface, address):
            yield Wire(interface, address, who, namespace)
    else:
        interface = _default_link()
        yield Wire(interface, _address_on(interface), who)


def rescue_address(site: Site, machine: Machine) -> str:
    """Where the machine's rescue answers: its reserved address, else the link-local one that its MAC gives it.

    The link-local address needs no DHCP, no DNS and no router, only the same wire (RFC 4291, appendix A).
    """
    if machine.address:
        return str(machine.address)
    return f"{link_local(machine.passport.macs[0])}%{link_of(site)}"


def link_of(site: Site) -> str:
    """The network interface behind which the site's machines are. Raises UsageError if there is none."""
    return site.lab.bridge if site.lab else _default_link()


def link_local_neighbours(site: Site) -> tuple[str, ...]:
    """Everybody on the site's wire by the address that his MAC gives him (EUI-64), as every rescue has one."""
    link = link_of(site)
    found = (each for each in neighbours(door(site), link) if IPv6Address(each).packed[11:13] == b"\xff\xfe")
    return tuple(f"{each}%{link}" for each in found)


def link_local(mac: str) -> IPv6Address:
    """The IPv6 link-local address made from a MAC (EUI-64), as Linux does by default."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 0x02
    return IPv6Address(bytes.fromhex("fe80000000000000") + bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:]))


def _default_link() -> str:
    routes = json.loads(run(["ip", "-j", "route", "show", "default"], deadline=10).stdout or "[]")
    if not routes:
        raise UsageError(
            "this computer has no network: there is no default route",
            hint="give the machine the `address:` that DHCP reserves for it, in machines.yml",
        )
    return str(routes[0]["dev"])


def _address_on(interface: str) -> IPv4Interface:
    shown = json.loads(run(["ip", "-j", "-4", "addr", "show", "dev", interface], deadline=10).stdout or "[]")
    for entry in (entry for link in shown for entry in link.get("addr_info", ())):
        return IPv4Interface(f"{entry['local']}/{entry['prefixlen']}")
    raise UsageError(
        f"this computer has no IPv4 address on {interface}", hint="firmware asks for a system over IPv4: give it one"
    )
