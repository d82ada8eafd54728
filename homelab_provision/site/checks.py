"""What must hold between the parts of a site: no host twice, no identity twice.

These rules read the text of the file and not the models, so that a mistake elsewhere in a machine hides none of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from homelab_provision.rescue.facts import serial_key
from homelab_provision.site.document import Document, KeyPath, at, plain
from homelab_provision.site.models import PROVISIONED_GROUP, DiskUse, Host
from homelab_provision.site.problems import Problem
from homelab_provision.site.values import mac_key
from homelab_provision.site.virtual import MMC_SERIAL
from homelab_provision.text import did_you_mean


@dataclass(frozen=True)
class Written:
    """A text of one machine, and where it stands."""

    machine: str
    text: str
    path: KeyPath


def check_machines(document: Document) -> Iterator[Problem]:
    """Mistakes that machines.yml shows by itself."""
    machines = _machines(document)
    at_one, below = partial(_at, document, machines), partial(_below, document, machines)
    # Every virtual eMMC says the same serial: it is wired into QEMU.
    disks = [disk for disk in below("passport", "disks", item="serial") if disk.text != MMC_SERIAL]
    plays, address = at_one("plays"), at_one("address")
    macs = below("passport", "macs")
    serial, board, uuid = (at_one("passport", name) for name in ("serial", "board_serial", "uuid"))
    for found, key, twice, also, expected in (
        (plays, str.strip, "a host on two machines", "played by", "one machine for a host; a spare plays nothing"),
        (macs, mac_key, "one MAC address twice", "that of", "an address that no other network card has"),
        (serial, serial_key, "one serial twice", "that of", "a serial that no other machine has"),
        (board, serial_key, "one board serial twice", "that of", "a serial that no other machine's board has"),
        (uuid, serial_key, "one UUID twice", "that of", "a UUID that no other machine has"),
        (disks, serial_key, "one disk serial twice", "that of a disk of", "a serial that no other disk has"),
        (
            address,
            str.strip,
            "two machines with one address",
            "that of",
            "an address that no other machine's rescue system has",
        ),
    ):
        yield from _unique(document, found, key, twice, also, expected)
    yield from _no_system_disk(document, machines)


def check_players(hosts: Mapping[str, Host], document: Document) -> Iterator[Problem]:
    """Machines that name a host which the inventory does not know, or which nobody may reach or rebuild."""
    machines = _machines(document)
    players, wakers = _at(document, machines, "plays"), _at(document, machines, "wake_through")
    for named in [*players, *wakers, *_below(document, machines, "distrusted_as")]:
        if named.text not in hosts:
            yield document.problem(
                named.path,
                f"there is no host `{named.text}`",
                at_value=True,
                expected=f"a host of hosts.yml: {', '.join(sorted(hosts)) or '(it has none)'}",
                suggestion=did_you_mean(named.text, hosts),
            )
    for named in players:
        if named.text in hosts and not hosts[named.text].provisioned:
            yield document.problem(
                named.path,
                f"`{named.text}` is no host that may be rebuilt",
                at_value=True,
                expected=f"a host of the group `{PROVISIONED_GROUP}` of hosts.yml",
            )
    plays = {named.machine: named.text for named in players}
    for named in wakers:
        if named.text == plays.get(named.machine) or (named.text in hosts and not hosts[named.text].provisioned):
            yield document.problem(
                named.path,
                f"`{named.text}` cannot wake `{named.machine}`",
                at_value=True,
                expected=f"another host, of the group `{PROVISIONED_GROUP}` of hosts.yml",
            )


def _unique(
    document: Document, found: list[Written], key: Callable[[str], str], twice: str, also: str, expected: str
) -> Iterator[Problem]:
    """What stands there `twice`, and what it is `also` of the machine that had it first."""
    places: dict[str, list[Written]] = defaultdict(list)
    for written in found:
        places[key(written.text)].append(written)
    for first, *others in places.values():
        line = document.place(first.path, at_value=True).line
        for other in others:
            said = f"{twice}: {other.text} is also {also} `{first.machine}` (line {line})"
            yield document.problem(other.path, said, expected=expected, at_value=True)


def _no_system_disk(document: Document, machines: list[str]) -> Iterator[Problem]:
    for machine in machines:
        path: KeyPath = ("machines", machine, "passport", "disks")
        disks = plain(at(document.root, path))
        if (
            isinstance(disks, list)
            and disks
            and all(isinstance(disk, dict) and disk.get("use") == DiskUse.KEEP for disk in disks)
        ):
            yield document.problem(path, "no disk may be flashed", expected="one disk with `use: system`")


def _machines(document: Document) -> list[str]:
    node = at(document.root, ("machines",))
    return list(dict.fromkeys(str(key.value) for key, _ in node.value)) if isinstance(node, MappingNode) else []


def _at(document: Document, machines: list[str], *below: str) -> list[Written]:
    """The text at one place of every machine that has it."""
    paths: list[tuple[str, KeyPath]] = [(machine, ("machines", machine, *below)) for machine in machines]
    return [Written(machine, text, path) for machine, path in paths if (text := _text(at(document.root, path)))]


def _below(document: Document, machines: list[str], *below: str, item: str | None = None) -> list[Written]:
    """The texts of one list of every machine that has it, or those of one key of its items."""
    found = []
    for machine in machines:
        path: KeyPath = ("machines", machine, *below)
        items = at(document.root, path)
        for index in range(len(items.value) if isinstance(items, SequenceNode) else 0):
            here = (*path, index) if item is None else (*path, index, item)
            if text := _text(at(document.root, here)):
                found.append(Written(machine, text, here))
    return found


def _text(node: Node | None) -> str | None:
    text = plain(node) if isinstance(node, ScalarNode) else None
    return text if isinstance(text, str) else None
