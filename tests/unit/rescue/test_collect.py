"""What the rescue tells of a machine, read from a tree of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.errors import Refused
from homelab_provision.machine.facts import MachineFacts
from homelab_provision.machine.target import choose_target
from homelab_provision.rescue import facts as rescue_facts
from homelab_provision.rescue.facts import STICK_LABEL, Unreadable, collect
from homelab_provision.site.models import Passport
from tests.unit.rescue.computer import MMC, NVME, SATA, USB, USB_DEVICE, VIRTIO, Computer

VPD = b"\x00\x80\x00\x14        S3YJNX0K-42 \x00"
VFAT = {"offset": "0x52", "type": "vfat", "uuid": "12AB-34CD", "label": "x", "usage": "filesystem"}
LVM = {"offset": "0x218", "type": "LVM2_member", "uuid": "u", "label": None, "usage": "raid"}


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    found = Computer(tmp_path)
    monkeypatch.setattr(rescue_facts, "output", found.output)
    monkeypatch.setattr(rescue_facts, "examine", found.examine)
    return found


def only_disk(computer: Computer) -> dict[str, Any]:
    (disk,) = collect(computer.root)["disks"]
    return dict(disk)


@pytest.mark.parametrize(
    ("name", "at", "transport"),
    [
        ("sda", SATA, "sata"),
        ("sda", USB, "usb"),
        ("mmcblk0", MMC, "mmc"),
        ("nvme0n1", NVME, "nvme"),
        ("nvme0n1", "virtual/nvme-subsystem/nvme-subsys0", "nvme"),
        ("vda", VIRTIO, "virtio"),
        ("sda", "pci0000:00/0000:00:05.0/virtio1/host0/target0:0:0/0:0:0:0", "virtio"),
        ("sda", "pci0000:00/0000:00:12.0/host0/target0:0:0/0:0:0:0", "unknown"),
        # A card reader and an NVMe enclosure on USB are USB.
        ("mmcblk1", "pci0000:00/0000:00:15.0/usb1/1-2/1-2:1.0/mmc_host/mmc1/mmc1:0001", "usb"),
    ],
)
def test_transport_is_the_place_in_the_device_tree(computer: Computer, name: str, at: str, transport: str) -> None:
    computer.disk(name, at)
    assert only_disk(computer)["transport"] == transport


def test_usb_ssd_that_says_it_is_not_removable_is_usb_with_the_serial_of_its_usb_device(computer: Computer) -> None:
    computer.usb_disk("sda", "4C530001\n")
    disk = only_disk(computer)
    assert (disk["transport"], disk["removable"], disk["serial"]) == ("usb", False, "4C530001")


def test_usb_disk_without_a_serial_of_its_own_borrows_none(computer: Computer) -> None:
    computer.usb_disk("sda", "")
    assert only_disk(computer)["serial"] is None


def test_serial_of_a_sata_disk_is_its_vpd_page_without_padding(computer: Computer) -> None:
    computer.disk("sda", SATA, vpd_pg80=VPD, model="Micron 1100   \n", wwid="naa.500a0751\n")
    disk = only_disk(computer)
    assert (disk["serial"], disk["model"], disk["wwn"]) == ("S3YJNX0K-42", "Micron 1100", "naa.500a0751")


@pytest.mark.parametrize("page", [b"", b"\x00\x80\x00\x00", b"\x00\x80\x00\x04    "])
def test_empty_vpd_page_is_no_serial(computer: Computer, page: bytes) -> None:
    computer.disk("sda", SATA, vpd_pg80=page)
    assert only_disk(computer)["serial"] is None


@pytest.mark.parametrize(("name", "at"), [("mmcblk0", MMC), ("nvme0n1", NVME)])
def test_serial_of_mmc_and_nvme_is_the_device_s(computer: Computer, name: str, at: str) -> None:
    computer.disk(name, at, serial="0x0d0cd407\n")
    assert only_disk(computer)["serial"] == "0x0d0cd407"


def test_serial_of_a_virtio_disk_lies_beside_its_size(computer: Computer) -> None:
    computer.disk("vda", VIRTIO)
    computer.put("sys/block/vda/serial", "VIRT-1\n")
    assert only_disk(computer)["serial"] == "VIRT-1"


def test_boot_areas_of_an_emmc_are_told_from_its_disk(computer: Computer) -> None:
    computer.disk("mmcblk0", MMC, 61071360, serial="0x0d0cd407\n", name="hB8aP>\n")
    areas = {f"mmcblk0{area}" for area in ("boot0", "boot1", "rpmb", "gp0", "gp1", "gp2", "gp3")}
    for area in areas:
        computer.disk(area, f"{MMC}/{area}", 8192, serial="0x0d0cd407\n")
    disks = {disk["name"]: disk for disk in collect(computer.root)["disks"]}
    assert {name for name, disk in disks.items() if disk["boot_area"]} == areas
    assert disks["mmcblk0"]["model"] == "hB8aP>"


def test_size_is_in_bytes_and_read_only_and_removable_are_told(computer: Computer) -> None:
    computer.disk("sda", SATA, 500118192)
    computer.disk("sdb", SATA.replace("ata1", "ata2"), 2048)
    computer.put("sys/block/sdb/ro", "1\n")
    computer.put("sys/block/sdb/removable", "1\n")
    first, second = collect(computer.root)["disks"]
    assert (first["size_bytes"], first["read_only"], first["removable"]) == (256060514304, False, False)
    assert (second["size_bytes"], second["read_only"], second["removable"]) == (1048576, True, True)


def test_what_is_no_disk_or_holds_no_medium_is_left_out(computer: Computer) -> None:
    for name in (
        "loop0",
        "ram0",
        "zram0",
        "sr0",
        "dm-0",
        "md127",
        "nbd0",
        "fd0",
        "mtdblock0",
        "pmem0",
        "zd16",
        "drbd0",
        "rbd0",
        "bcache0",
        "nullb0",
        "ublkb0",
        "rnbd0",
        "nvme0c0n1",
        "nvme1c2n3",
    ):
        computer.disk(name, f"virtual/{name}")
    computer.disk("sdc", USB, 0)  # a card reader without a card
    assert collect(computer.root)["disks"] == []


def test_a_path_to_a_disk_that_the_kernel_hides_is_no_second_disk(wyse: Computer) -> None:
    """NVMe multipath: the disk is nvme0n1, and every way to it a hidden one that says the same serial."""
    wyse.disk("nvme0n1", "virtual/nvme-subsystem/nvme-subsys0", 500118192, serial="NVME-1\n")
    wyse.disk("nvme0c0n1", NVME, 500118192, serial="NVME-1\n")
    wyse.disk("sdz", SATA.replace("ata1", "ata3"), 500118192, serial="NVME-1\n")
    wyse.put("sys/block/sdz/hidden", "1\n")
    disk = {"serial": "NVME-1", "size": 256060514304}
    passport = Passport.model_validate(PASSPORT.model_dump() | {"disks": [disk]})
    assert choose_target(passport, facts_of(wyse)).path == "/dev/nvme0n1"


def test_sectors_are_told_and_a_disk_with_large_ones_is_refused(wyse: Computer) -> None:
    wyse.put("sys/block/sda/queue/logical_block_size", "512\n")
    assert facts_of(wyse).disks[1].sector_bytes == 512
    wyse.put("sys/block/sda/queue/logical_block_size", "4096\n")
    with pytest.raises(Refused, match=r"sectors of 4096 bytes.*nothing was written") as refused:
        choose_target(PASSPORT, facts_of(wyse), frozenset({"S3YJNX0K-42"}))
    assert "nvme format" in (refused.value.hint or "")


def test_the_serial_travels_letter_by_letter_as_it_was_seen(wyse: Computer) -> None:
    wyse.disk("nvme0n1", NVME, 500118192, serial="NVMe-1  b\n")
    disk = {"serial": "nvme-1 B", "size": 256060514304}
    passport = Passport.model_validate(PASSPORT.model_dump() | {"disks": [disk]})
    assert choose_target(passport, facts_of(wyse)).serial == "NVMe-1  b"


def test_storage_controllers_are_told_and_who_hides_disks(wyse: Computer) -> None:
    for slot, words in {
        "00:0e.0": ("010400", "8086", "467f"),
        "00:17.0": ("010601", "8086", "a282"),
        "00:02.0": ("030000", "8086", "3185"),
    }.items():
        for name, word in zip(("class", "vendor", "device"), words, strict=True):
            wyse.put(f"sys/bus/pci/devices/0000:{slot}/{name}", f"0x{word}\n")
    wyse.put("sys/bus/pci/devices/0000:00:17.0/remapped_nvme", "1\n")
    assert collect(wyse.root)["storage"] == [
        {"class": "0104", "id": "8086:467f", "hidden_nvme": 0},
        {"class": "0106", "id": "8086:a282", "hidden_nvme": 1},
    ]


def test_partitions_have_their_names_and_uuids_from_the_table(computer: Computer) -> None:
    computer.disk("nvme0n1", NVME)
    for number, start, sectors in ((10, 4096, 8), (2, 2048, 16)):
        computer.partition("nvme0n1", number, start, sectors)
    computer.sfdisk["nvme0n1"] = [
        {"node": "/dev/nvme0n1p2", "start": 2048, "size": 16, "type": "T-2", "uuid": "U-2", "name": "hlp-root"},
        {"node": "/dev/nvme0n1p10", "start": 4096, "size": 8, "type": "T-10", "uuid": "U-10"},
    ]
    computer.wipefs["nvme0n1p2"] = [VFAT]
    computer.wipefs["nvme0n1"] = [{"offset": "0x200", "type": "gpt", "usage": "partition-table"}]
    disk = only_disk(computer)
    second, tenth = disk["partitions"]
    mark = {"node": "/dev/nvme0n1p2", **VFAT}
    assert second == {
        "number": 2,
        "name": "hlp-root",
        "type_guid": "T-2",
        "uuid": "U-2",
        "start": 2048,
        "size_bytes": 8192,
        "signatures": [mark],
    }
    assert (tenth["number"], tenth["name"], tenth["uuid"], tenth["signatures"]) == (10, None, "U-10", [])
    assert [found["type"] for found in disk["signatures"]] == ["gpt"]


def test_the_stick_is_known_by_the_label_of_its_file_system(computer: Computer) -> None:
    computer.usb_disk("sda")
    computer.disk("sdb", SATA)
    for disk in ("sda", "sdb"):
        computer.wipefs[computer.partition(disk, 1, 2048, 16)] = [{**VFAT, "label": "EFI"}]
    computer.wipefs["sda1"] = [{**VFAT, "label": STICK_LABEL}]
    assert [disk["holds_rescue"] for disk in collect(computer.root)["disks"]] == [True, False]


def test_all_disks_are_asked_in_one_go(computer: Computer) -> None:
    computer.disk("sda", SATA)
    computer.partition("sda", 1, 2048, 16)
    computer.usb_disk("sdb")
    collect(computer.root)
    (asked,) = [argv for argv in computer.calls if argv[0] == "wipefs"]
    assert {word for word in asked if word.startswith("/dev/")} == {"/dev/sda", "/dev/sda1", "/dev/sdb"}


@pytest.mark.negative
def test_a_disk_that_cannot_be_looked_at_says_so_and_the_others_are_as_they_are(computer: Computer) -> None:
    computer.disk("sda", SATA)
    computer.usb_disk("sdb")
    computer.wipefs["sdb"] = [LVM]
    computer.broken = {"sda"}
    first, second = collect(computer.root)["disks"]
    assert "cannot read sda" in first["error"]
    assert first["signatures"] == []
    assert second["error"] is None
    assert [found["type"] for found in second["signatures"]] == ["LVM2_member"]


@pytest.mark.negative
@pytest.mark.parametrize("answer", [{}, Unreadable("/dev/sda: does not contain a recognized partition table")])
def test_partitions_that_no_table_explains_are_foreign_and_may_be_erased(
    wyse: Computer, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | Unreadable
) -> None:
    """A table that only the kernel knows, or one that was erased after the kernel had read it."""
    wyse.partition("sda", 1, 2048, 16)
    ask = wyse.output

    def output(*argv: str) -> dict[str, Any]:
        if argv[0] != "sfdisk":
            return ask(*argv)
        if isinstance(answer, Unreadable):
            raise answer
        return answer

    monkeypatch.setattr(rescue_facts, "output", output)
    facts = facts_of(wyse)
    with pytest.raises(Refused, match="not empty") as refused:
        choose_target(PASSPORT, facts)
    assert "sda1  a partition with unknown content" in (refused.value.evidence or "")
    assert choose_target(PASSPORT, facts, frozenset({"S3YJNX0K-42"})).allowed_by == "--erase"


@pytest.mark.parametrize(
    ("variable", "expected"),
    [(b"\x06\0\0\0\x01", True), (b"\x06\0\0\0\0", False), (b"\x01\0\0\0\0", False), (b"", None), (None, None)],
)
def test_secure_boot_is_the_last_byte_of_its_variable(
    computer: Computer, variable: bytes | None, expected: bool | None
) -> None:
    computer.uefi(variable)
    facts = collect(computer.root)
    assert (facts["firmware"], facts["secure_boot"]) == ("uefi", expected)


def test_without_efi_in_sys_the_firmware_is_a_bios(computer: Computer) -> None:
    facts = collect(computer.root)
    assert (facts["firmware"], facts["secure_boot"]) == ("bios", None)


def test_memory_processor_and_boot_id(computer: Computer) -> None:
    facts = collect(computer.root)
    assert facts["memory_mib"] == 8013
    assert facts["cpu"] == {
        "model": "Intel(R) Celeron(R) J4105 CPU @ 1.50GHz",
        "cores": 2,
        "flags": ["fpu", "sse4_2", "aes"],
    }
    assert facts["boot_id"] == "6f0f5f9e-0001-4c0f-8d67-000000000001"


def test_network_cards_are_those_with_a_device_behind_them(computer: Computer) -> None:
    computer.nic("enp1s0", "00:00:5e:00:53:d4", "r8169")
    computer.nic("lo", "00:00:00:00:00:00", None)
    assert collect(computer.root)["nics"] == [{"name": "enp1s0", "mac": "00:00:5e:00:53:d4", "driver": "r8169"}]


def test_dmi_strings_are_stripped_and_missing_ones_are_none(computer: Computer) -> None:
    computer.put("sys/class/dmi/id/product_serial", "DOCD407 \n")
    computer.put("sys/class/dmi/id/sys_vendor", "\n")
    dmi = collect(computer.root)["dmi"]
    assert (dmi["product_serial"], dmi["sys_vendor"], dmi["board_name"]) == ("DOCD407", None, None)


@pytest.fixture
def wyse(computer: Computer) -> Computer:
    """A Wyse 5070: SATA target, eMMC with boot areas, and a USB disk; every file a real one has."""
    computer.uefi(b"\x06\0\0\0\x01")
    computer.put("sys/class/dmi/id/product_serial", "DOCD407\n")
    computer.nic("enp1s0", "00:00:5e:00:53:d4", "r8169")
    computer.disk("sda", SATA, 500118192, vpd_pg80=VPD)
    computer.disk("mmcblk0", MMC, 61071360, serial="0x0d0cd407\n", name="hB8aP>\n")
    computer.disk("mmcblk0boot0", f"{MMC}/mmcblk0boot0", 8192)
    computer.usb_disk("sdb")
    return computer


PASSPORT = Passport.model_validate(
    {
        "serial": "DOCD407",
        "macs": ["00:00:5e:00:53:d4"],
        "disks": [{"serial": "S3YJNX0K-42", "size": 256060514304}],
    }
)


def facts_of(computer: Computer) -> MachineFacts:
    return MachineFacts.model_validate_json(json.dumps(collect(computer.root)))


def test_the_controller_understands_what_the_rescue_prints(wyse: Computer) -> None:
    facts = facts_of(wyse)
    assert [disk.name for disk in facts.disks] == ["mmcblk0", "mmcblk0boot0", "sda", "sdb"]
    assert choose_target(PASSPORT, facts).path == "/dev/sda"


@pytest.mark.negative
def test_a_disk_that_could_not_be_looked_at_is_never_the_target(wyse: Computer) -> None:
    wyse.broken = {"sda"}
    with pytest.raises(Refused, match="could not be examined"):
        choose_target(PASSPORT, facts_of(wyse))


@pytest.mark.negative
def test_foreign_content_that_the_rescue_saw_keeps_the_disk(wyse: Computer) -> None:
    wyse.wipefs["sda"] = [LVM]
    with pytest.raises(Refused, match="not empty"):
        choose_target(PASSPORT, facts_of(wyse))


@pytest.mark.negative
def test_a_usb_disk_that_shows_the_serial_of_the_target_is_refused(wyse: Computer) -> None:
    wyse.put(f"sys/devices/{USB_DEVICE}/serial", "S3YJNX0K-42\n")
    with pytest.raises(Refused, match="2 disks match"):
        choose_target(PASSPORT, facts_of(wyse))


@pytest.mark.processes
def test_a_tool_that_fails_or_prints_no_json_is_not_believed() -> None:
    assert rescue_facts.output("printf", '{"signatures": []}') == {"signatures": []}
    for argv in (("sh", "-c", "echo '{}'; echo broken >&2; exit 1"), ("echo", "no JSON"), ("echo", "[]"), ("true",)):
        with pytest.raises(rescue_facts.Unreadable):
            rescue_facts.output(*argv)
