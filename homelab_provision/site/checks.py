"""What must hold between the parts of a site: no host twice, no identity twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from homelab_provision.lab.model import MMC_SERIAL
from homelab_provision.site.document import Document, KeyPath
from homelab_provision.site.models import PROVISIONED_GROUP, Host, Machine
from homelab_provision.site.problems import Problem
from homelab_provision.site.validation import did_you_mean
from homelab_provision.site.values import serial_key

Where = tuple[str, KeyPath]


def check_machines(machines: Mapping[str, Machine], document: Document) -> Iterator[Problem]:
    """Mistakes that machines.yml shows by itself."""
    yield from _host_on_two_machines(machines, document)
    yield from _same_identity(_macs(machines), "MAC address", document)
    yield from _same_identity(_serials(machines), "serial", document)
    yield from _same_identity(_disk_serials(machines), "disk serial", document)
    yield from _same_identity(_rescue_addresses(machines), "address of the rescue system", document)
    for machine in machines.values():
        if not machine.passport.system_disks:
            yield document.problem(("machines", machine.name, "passport", "disks"), "no disk may be flashed",
                                   expected="one disk with `use: system`")  # fmt: skip


def check_players(machines: Mapping[str, Machine], hosts: Mapping[str, Host], document: Document) -> Iterator[Problem]:
    """Machines that play (or played) hosts which the inventory does not know, or which nobody may rebuild."""
    for machine in machines.values():
        named: list[tuple[KeyPath, str]] = [(("distrusted_as", index), name)
                                            for index, name in enumerate(machine.distrusted_as)]  # fmt: skip
        if machine.plays is not None:
            named.insert(0, (("plays",), machine.plays))
        for path, name in named:
            if name not in hosts:
                yield document.problem(
                    ("machines", machine.name, *path), f"there is no host `{name}`", at_value=True,
                    expected=f"a host of hosts.yml: {', '.join(sorted(hosts)) or '(it has none)'}",
                    suggestion=did_you_mean(name, list(hosts)))  # fmt: skip
        if machine.plays is not None and machine.plays in hosts and not hosts[machine.plays].provisioned:
            yield document.problem(
                ("machines", machine.name, "plays"), f"`{machine.plays}` is no host that may be rebuilt", at_value=True,
                expected=f"a host of the group `{PROVISIONED_GROUP}` of hosts.yml")  # fmt: skip


def _host_on_two_machines(machines: Mapping[str, Machine], document: Document) -> Iterator[Problem]:
    players: dict[str, str] = {}
    for machine in machines.values():
        if machine.plays is not None and players.setdefault(machine.plays, machine.name) != machine.name:
            yield document.problem(
                ("machines", machine.name, "plays"), at_value=True,
                message=f"a host on two machines: `{players[machine.plays]}` plays `{machine.plays}`, too",
                expected="one machine for a host; a spare plays nothing")  # fmt: skip


def _same_identity(found: Iterator[tuple[str, Where]], kind: str, document: Document) -> Iterator[Problem]:
    by_value: dict[str, list[Where]] = defaultdict(list)
    for value, where in found:
        by_value[value].append(where)
    for value, places in by_value.items():
        (first, first_path), *others = places
        line = document.place(first_path, at_value=True).line
        for _, path in others:
            yield document.problem(path, f"one {kind} twice: {value} is also that of `{first}` (line {line})",
                                   expected=f"a {kind} that nothing else has", at_value=True)  # fmt: skip


def _macs(machines: Mapping[str, Machine]) -> Iterator[tuple[str, Where]]:
    for name, machine in machines.items():
        for index, mac in enumerate(machine.passport.macs):
            yield mac, (name, ("machines", name, "passport", "macs", index))


def _serials(machines: Mapping[str, Machine]) -> Iterator[tuple[str, Where]]:
    for name, machine in machines.items():
        yield serial_key(machine.passport.serial), (name, ("machines", name, "passport", "serial"))


def _disk_serials(machines: Mapping[str, Machine]) -> Iterator[tuple[str, Where]]:
    for name, machine in machines.items():
        for index, disk in enumerate(machine.passport.disks):
            # Every virtual eMMC says the same serial; it is wired into QEMU.
            if not (machine.lab and disk.serial == MMC_SERIAL):
                yield serial_key(disk.serial), (name, ("machines", name, "passport", "disks", index, "serial"))


def _rescue_addresses(machines: Mapping[str, Machine]) -> Iterator[tuple[str, Where]]:
    for name, machine in machines.items():
        if machine.address is not None:
            yield str(machine.address), (name, ("machines", name, "address"))
