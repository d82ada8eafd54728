"""The homelab of which four machines are measured at once."""

from __future__ import annotations

from bench import many as bench
from homelab_provision.jobs import many
from homelab_provision.runs.store import Request
from tests.unit.site.sites import site_of


def test_four_hosts_wait_for_nobody_and_each_has_a_box() -> None:
    site = site_of(bench.machines_yml(), bench.hosts_yml())
    members = many.group(site, Request(command="rebuild", site=site.root, host=""), bench.NAMES, None)
    assert {member.host: (member.machine.name, dict(member.after)) for member in members} == {
        f"web-{number}": (f"box-{number}", {}) for number in (1, 2, 3, 4)
    }
    assert all(machine.lab and machine.operator == "lab" for machine in site.machines.values())
