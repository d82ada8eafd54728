"""Descriptions of virtual machines: friendly to write, and refused where no such machine can be."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from pydantic import ValidationError

from homelab_provision.site.virtual import Bus, LabDisk, LabMachine, LabNetwork, slug


def disk(**changes: Any) -> LabDisk:
    return LabDisk.model_validate({"name": "system", "serial": "S1", "size_bytes": "16 GB", **changes})


def machine(*disks: dict[str, Any], **changes: Any) -> LabMachine:
    described = {"smbios": {"serial": "7XK2Q13"}, "mac": "52:54:00:aa:bb:01", "disks": disks, **changes}
    return LabMachine.model_validate(described)


def test_a_machine_is_a_wyse_unless_told_otherwise() -> None:
    box = machine()
    assert (box.smbios.vendor, box.smbios.product) == ("Dell Inc.", "Wyse 5070 Thin Client")
    assert (box.smbios.sku, box.smbios.family) == ("080C", "Wyse Thin Client 5000 Series")
    assert (box.cpu_model, box.cpus, box.memory_mib, box.nic_model) == ("Denverton", 2, 2048, "e1000e")


def test_its_uuid_follows_its_serial() -> None:
    assert machine().smbios.uuid == machine().smbios.uuid
    assert machine().smbios.uuid != machine(smbios={"serial": "OTHER"}).smbios.uuid


def test_macs_and_wwns_are_read_as_people_and_yaml_write_them() -> None:
    assert machine(mac="52-54-00-AA-BB-01").mac == "52:54:00:aa:bb:01"
    assert disk(wwn=0x5000C500A1B2C3D4).wwn == disk(wwn="0x5000c500a1b2c3d4").wwn == "0x5000c500a1b2c3d4"


@pytest.mark.parametrize("mac", ["53:54:00:aa:bb:01", "52:54:00:aa:bb", "zz:54:00:aa:bb:01", "ff:ff:ff:ff:ff:ff"])
def test_a_mac_that_no_nic_has(mac: str) -> None:
    with pytest.raises(ValidationError):
        machine(mac=mac)


def test_a_disk_has_whole_sectors() -> None:
    assert disk(size_bytes="14.7 GiB").capacity == 15784004812 // 512 * 512


def test_an_emmc_has_the_one_serial_that_it_can_have() -> None:
    emmc = LabDisk.model_validate({"name": "emmc", "bus": "mmc", "size_bytes": "16 GiB"})
    assert emmc.serial == "0xdeadbeef"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"serial": ""}, "pattern"),
        ({"serial": "X" * 21}, "more than the 20"),
        ({"bus": "mmc", "serial": "MINE"}, "always says serial"),
        ({"bus": "mmc", "serial": "0xdeadbeef", "size_bytes": "14.7 GiB"}, "power of two"),
        ({"bus": "usb", "wwn": "0x5000c500a1b2c3d4"}, "sata disks only"),
        ({"bus": "sata", "removable": True}, "usb disks only"),
        ({"content": "decoy", "size_bytes": "16 MiB"}, "at least 32 MiB"),
        ({"size_bytes": "16G"}, "unknown unit"),
        ({"colour": "red"}, "colour"),
        ({"name": "../../etc"}, "pattern"),
    ],
)
def test_a_disk_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        disk(**changes)


def test_a_disk_without_serial_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs a serial"):
        LabDisk.model_validate({"name": "system", "size_bytes": "1 GiB"})


def test_a_machine_that_cannot_be() -> None:
    one = {"name": "one", "serial": "S1", "size_bytes": "1 GiB"}
    with pytest.raises(ValidationError, match="two disks have one name"):
        machine(one, one)
    with pytest.raises(ValidationError, match="six ports"):
        machine(*({**one, "name": f"disk{number}"} for number in range(7)))
    with pytest.raises(ValidationError, match="at most one mmc"):
        machine(*({"name": f"mmc{number}", "bus": "mmc", "size_bytes": "1 GiB"} for number in range(2)))


def test_a_disk_is_found_by_name() -> None:
    box = machine({"name": "photos", "bus": "usb", "serial": "S1", "size_bytes": "1 GiB"})
    assert box.disk("photos").bus is Bus.USB
    with pytest.raises(KeyError):
        box.disk("nothing")


def test_leases_are_the_last_quarter_of_the_network() -> None:
    assert LabNetwork().leases == (IPv4Address("192.168.50.192"), IPv4Address("192.168.50.254"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dhcp_range": ["192.168.51.1", "192.168.51.9"]}, "does not lie inside"),
        ({"dhcp_range": ["192.168.50.9", "192.168.50.2"]}, "does not lie inside"),
        ({"dhcp_range": ["192.168.50.1", "192.168.50.9"]}, "contains the router"),
        ({"router": "192.168.50.1/30"}, "too small"),
        ({"namespace": "../root"}, "pattern"),
    ],
)
def test_a_network_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LabNetwork.model_validate(changes)


def test_long_names_are_cut_and_stay_apart() -> None:
    assert slug("tap-db", 15) == "tap-db"
    cut = {slug(f"tap-a-machine-with-a-long-name-{number}", 15) for number in range(20)}
    assert len(cut) == 20
    assert all(len(name) <= 15 for name in cut)
    assert slug("tap-a_b", 15) != slug("tap-a-b", 15)
