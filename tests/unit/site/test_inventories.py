"""The sites that the repository brings along are good ones, and say what they are meant to say."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from homelab_provision.machine.placement import fits, pick_machine
from homelab_provision.site.description import describe, machine_rows
from homelab_provision.site.lab_check import lab_contradictions
from homelab_provision.site.loading import load_site
from homelab_provision.site.models import DiskUse, Site
from tests.unit.site.sites import site_of

INVENTORIES = Path(__file__).parents[3] / "inventories"


def bundled(name: str) -> Site:
    """A site of the repository, without Ansible's variable files."""
    root = INVENTORIES / name
    return site_of((root / "machines.yml").read_text(), (root / "hosts.yml").read_text(), root)


@pytest.mark.processes
@pytest.mark.parametrize("name", ["lab", "example"])
def test_they_load(name: str) -> None:
    site = load_site(INVENTORIES / name)
    assert (site.root, site.name) == (INVENTORIES / name, name)
    described = describe(site)
    assert json.loads(json.dumps(described)) == described
    assert set(site.hosts) == set(bundled(name).hosts)


@pytest.mark.processes
def test_what_the_example_only_mentions_is_good_without_the_signs_of_comment(tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(INVENTORIES / "example", site, ignore=shutil.ignore_patterns(".vault*", "vault"))
    text = (site / "hosts.yml").read_text()
    (site / "hosts.yml").write_text(re.sub("^#(    )", r"\1", text, flags=re.MULTILINE))
    hosts = load_site(site).hosts
    more = {name: {"pihole", "vpn", "floating_ip"}.intersection(host.roles) for name, host in hosts.items()}
    assert more["db-wyse"] == {"pihole", "floating_ip"}
    assert more["site-wyse"] == {"pihole", "vpn", "floating_ip"}


def test_the_lab_has_a_database_its_player_and_one_blank_spare() -> None:
    site = bundled("lab")
    host = site.host("db-wyse")
    assert {"provisioned", "databases"} <= set(host.groups)
    assert host.network is not None
    assert (host.address, str(host.network.gateway)) == ("192.168.50.10", "192.168.50.1")
    player = site.player_of("db-wyse")
    assert player is not None
    assert player.passport.serial == "LAB5070A"
    assert fits(host.needs, player) == []
    chosen = pick_machine(site, host, None, lambda machine: False, None)
    assert (chosen.name, chosen.passport.serial, chosen.passport.macs) == ("wyse-b", "LAB5070B", ("52:54:00:50:70:0b",))
    assert str(chosen.address) == "192.168.50.102"


def test_virtual_machines_are_what_their_passports_say() -> None:
    for machine in bundled("lab").machines.values():
        assert machine.lab is not None
        assert lab_contradictions(machine) == []
        assert [disk.use for disk in machine.passport.disks].count(DiskUse.SYSTEM) == 1
        assert len(machine.passport.disks) == len(machine.lab.disks)


@pytest.mark.negative
def test_a_virtual_machine_that_is_not_what_its_passport_says() -> None:
    machine = bundled("lab").machine("wyse-b")
    assert machine.lab is not None
    papers = machine.passport
    wrong_disks = (papers.disks[0].model_copy(update={"serial": "OTHER"}), *papers.disks[1:])
    for update, said in (
        ({"serial": "LAB5070X"}, "serial: passport LAB5070X, hardware LAB5070B"),
        ({"macs": ("52:54:00:00:00:01",)}, "MAC addresses"),
        ({"memory_mib": 4096}, "memory"),
        ({"cores": 4}, "cores"),
        ({"product": "OptiPlex"}, "product"),
        ({"firmware": "bios"}, "firmware"),
        ({"disks": wrong_disks}, "disk OTHER: the hardware has none"),
    ):
        (found,) = lab_contradictions(machine.model_copy(update={"passport": papers.model_copy(update=update)}))
        assert said in found
    assert lab_contradictions(machine.model_copy(update={"lab": None})) == [
        "operator `lab`, but no virtual hardware (`lab`)"
    ]


def test_the_example_names_every_box_of_the_homelab() -> None:
    site = bundled("example")
    assert set(site.hosts) == {
        "modem",
        "router",
        "switch",
        "db-wyse",
        "site-wyse",
        "nas",
        "trainer",
        "framework",
        "ups-computers",
        "ups-network",
    }
    provisioned = {host.name for host in site.hosts.values() if host.provisioned}
    assert provisioned == {"db-wyse", "site-wyse", "framework"}
    assert {machine.plays for machine in site.machines.values()} - {None} == provisioned
    assert len(site.spares()) == 3
    for name in provisioned:
        player = site.player_of(name)
        assert player is not None
        assert fits(site.host(name).needs, player) == []


def test_one_spare_of_the_example_fits_the_database() -> None:
    site = bundled("example")
    assert pick_machine(site, site.host("db-wyse"), None, lambda machine: False, None).name == "wyse-3"


def test_rows_of_machines() -> None:
    first, *others = machine_rows(bundled("lab"))
    assert (first.name, first.plays, first.disk) == ("wyse-a", "db-wyse", "16 GB (LABSYS-A)")
    assert [row.plays for row in others] == [None, "nas"]
    assert set(first.model_dump(mode="json")) == {
        "name",
        "model",
        "plays",
        "distrusted_as",
        "serial",
        "disk",
        "memory_mib",
        "address",
        "way",
        "operator",
    }
