"""A site as plain data: what `config show` and `machines list` print."""

from __future__ import annotations

from typing import cast

from pydantic import JsonValue

from homelab_provision.site.models import Frozen, Machine, Site
from homelab_provision.site.sizes import format_size


class MachineRow(Frozen):
    """One machine of a site, in a line."""

    name: str
    model: str | None
    plays: str | None
    distrusted_as: tuple[str, ...]
    serial: str | None
    disk: str
    memory_mib: int | None
    address: str | None
    way: str
    operator: str


def describe(site: Site) -> dict[str, JsonValue]:
    """The site, merged and validated, as JSON data; sizes as they were written, nothing secret."""
    described = {
        "site": site.name,
        "root": str(site.root),
        "lab": site.lab.model_dump(mode="json") if site.lab else None,
        "vpn": site.vpn.model_dump(mode="json") if site.vpn else None,
        "hosts": {
            name: {
                **host.model_dump(mode="json", exclude={"name", "vpn"}),
                "machine": player.name if (player := site.player_of(name)) else None,
            }
            for name, host in site.hosts.items()
        },
        "machines": {
            name: machine.model_dump(mode="json", exclude={"name"}) for name, machine in site.machines.items()
        },
        "parts": {name: part.model_dump(mode="json", exclude={"name"}) for name, part in site.parts.items()},
    }
    return cast("dict[str, JsonValue]", described)


def machine_rows(site: Site) -> list[MachineRow]:
    """One row a machine, in the order of machines.yml."""
    return [_row(machine) for machine in site.machines.values()]


def _row(machine: Machine) -> MachineRow:
    disks = ", ".join(f"{format_size(disk.size_bytes)} ({disk.serial})" for disk in machine.passport.system_disks)
    return MachineRow(
        name=machine.name,
        model=machine.model,
        plays=machine.plays,
        distrusted_as=machine.distrusted_as,
        serial=machine.passport.serial or machine.passport.board_serial or machine.passport.uuid,
        disk=disks,
        memory_mib=machine.passport.memory_mib,
        address=str(machine.address) if machine.address else None,
        way=machine.way,
        operator=machine.operator,
    )
