from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.errors import ProvisionError, Refused, UsageError
from homelab_provision.events import Event, Progress, discard
from homelab_provision.image import stick_target
from homelab_provision.image.block_device import TargetFacts, describe_target
from homelab_provision.image.stick_target import Rule, find_target, is_device, refusals, require_same, write_stick

STICK = "pci0000:00/0000:00:14.0/usb1/1-2"
IMAGE = 130 * 2**20


class Computer:
    """A sysfs and a procfs with a few disks in them, laid out as Linux does."""

    def __init__(self, root: Path) -> None:
        self.sysfs, self.proc = root / "sys", root / "proc"
        (self.sysfs / "class/block").mkdir(parents=True)
        (self.proc / "self").mkdir(parents=True)
        self.mounts, self.swaps = ["22 1 0:21 / /proc rw - proc proc rw"], ["Filename Type Size Used Priority"]

    def disk(self, name: str, number: str, place: str, *, size: int, removable: bool = False) -> Path:
        node = self.sysfs / "devices" / place / "block" / name
        node.mkdir(parents=True)
        device = node.parent.parent
        (node / "device").symlink_to(device)
        (device / "model").write_text("Ultra Fit        \n")
        (device / "vendor").write_text("SanDisk \n")
        self._publish(node, number, size)
        (node / "removable").write_text(f"{removable:d}\n")
        return node

    def usb_disk(self, name: str, number: str, port: str, serial: str, *, removable: bool) -> Path:
        place = f"pci0000:00/0000:00:14.0/usb1/{port}"
        scsi = f"{place}/{port}:1.0/host6/target6:0:0/6:0:0:0"
        node = self.disk(name, number, scsi, size=30 * 10**9, removable=removable)
        (node / "diskseq").write_text("7\n")
        (self.sysfs / "devices" / place / "idVendor").write_text("0781\n")
        (self.sysfs / "devices" / place / "serial").write_text(f"{serial}\n")
        return node

    def partition(self, disk: Path, name: str, number: str) -> Path:
        node = disk / name
        node.mkdir()
        (node / "partition").write_text("1\n")
        self._publish(node, number, 2**30)
        return node

    def mapped(self, name: str, number: str, *slaves: Path) -> None:
        node = self.sysfs / "devices/virtual/block" / name
        node.mkdir(parents=True)
        self._publish(node, number, 2**30)
        for slave in slaves:
            (node / "slaves" / slave.name).symlink_to(slave)
            (slave / "holders" / name).symlink_to(node)

    def mount(self, number: str, point: str, source: str = "x") -> None:
        self.mounts.append(f"30 22 {number} / {point} rw,relatime shared:1 - ext4 {source} rw")

    def describe(self, device: str) -> TargetFacts:
        (self.proc / "self/mountinfo").write_text("\n".join(self.mounts) + "\n")
        (self.proc / "swaps").write_text("\n".join(self.swaps) + "\n")
        return describe_target(Path(device), self.sysfs, self.proc)

    def _publish(self, node: Path, number: str, size: int) -> None:
        for name, text in (("dev", number), ("size", str(size // 512)), ("ro", "0")):
            (node / name).write_text(f"{text}\n")
        for folder in ("holders", "slaves"):
            (node / folder).mkdir()
        (self.sysfs / "class/block" / node.name).symlink_to(node)


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    """A system on a SATA disk (sdq, through LVM), a stick (sdr), and a USB disk that is not removable (sds)."""
    it = Computer(tmp_path)
    system = it.disk("sdq", "65:0", "pci0000:00/0000:00:12.0/ata1/host0/target0:0:0/0:0:0:0", size=256 * 10**9)
    it.partition(system, "sdq1", "65:1")
    it.mapped("dm-7", "253:7", it.partition(system, "sdq2", "65:2"))
    it.mount("253:7", "/")
    it.mount("65:1", "/boot/efi")
    it.partition(it.usb_disk("sdr", "65:16", "1-2", "4C530001", removable=True), "sdr1", "65:17")
    it.partition(it.usb_disk("sds", "65:32", "1-3", "WD-77", removable=False), "sds1", "65:33")
    return it


def test_a_stick_is_described_as_it_is(computer: Computer) -> None:
    facts = computer.describe("/dev/sdr")
    assert facts == TargetFacts(
        path=Path("/dev/sdr"),
        name="sdr",
        number="65:16",
        whole_disk=True,
        transport="usb",
        removable=True,
        read_only=False,
        size_bytes=30 * 10**9,
        serial="4C530001",
        model="SanDisk Ultra Fit",
        place="USB 1-2",
        sequence="7",
    )
    assert refusals(facts, IMAGE, "4C530001") == []


def test_links_to_devices_are_followed(computer: Computer, tmp_path: Path) -> None:
    (tmp_path / "usb-SanDisk").symlink_to("/dev/sdr")
    assert computer.describe(str(tmp_path / "usb-SanDisk")).path == Path("/dev/sdr")


def test_a_device_that_is_not_there_is_a_usage_error(computer: Computer) -> None:
    with pytest.raises(UsageError, match="sdz"):
        computer.describe("/dev/sdz")


@pytest.mark.negative
@pytest.mark.parametrize("serial", [None, "", "4C530002", "4c530001"])
def test_it_must_be_confirmed_by_its_serial(computer: Computer, serial: str | None) -> None:
    (refusal,) = refusals(computer.describe("/dev/sdr"), IMAGE, serial)
    assert "not confirmed" in refusal


@pytest.mark.negative
def test_a_usb_disk_that_is_not_removable_needs_its_serial_and_says_so(computer: Computer) -> None:
    facts = computer.describe("/dev/sds")
    assert not facts.removable
    (refusal,) = refusals(facts, IMAGE, None)
    assert "may be a disk with your data" in refusal
    assert refusals(facts, IMAGE, "WD-77") == []


@pytest.mark.negative
def test_a_stick_without_a_serial_is_refused(computer: Computer) -> None:
    (computer.sysfs / "devices" / STICK / "serial").unlink()
    facts = computer.describe("/dev/sdr")
    assert facts.serial is None
    assert "no serial number" in refusals(facts, IMAGE, None)[0]
    assert refusals(facts, IMAGE, "") != []


@pytest.mark.negative
def test_the_disk_of_the_running_system_is_refused_through_every_layer(computer: Computer) -> None:
    facts = computer.describe("/dev/sdq")
    said = refusals(facts, IMAGE, facts.serial)
    assert facts.system
    assert facts.transport == "sata"
    assert "/dev/sdq is on the disk that carries the running system" in said
    assert "/dev/sdq is in use: mounted at /boot/efi" in said
    assert "/dev/sdq is in use: held by dm-7" in said


@pytest.mark.negative
def test_a_partition_is_refused(computer: Computer) -> None:
    facts = computer.describe("/dev/sdr1")
    assert (facts.whole_disk, facts.transport, facts.serial) == (False, "usb", "4C530001")
    assert refusals(facts, IMAGE, "4C530001") == ["/dev/sdr1 is a partition, not a whole disk (that may be /dev/sdr)"]


@pytest.mark.negative
def test_a_mounted_stick_is_refused(computer: Computer) -> None:
    computer.mount("65:17", "/media/my\\040stick")
    assert refusals(computer.describe("/dev/sdr"), IMAGE, "4C530001") == [
        "/dev/sdr is in use: mounted at /media/my stick"
    ]


@pytest.mark.negative
def test_a_stick_mounted_under_a_made_up_number_is_refused(computer: Computer) -> None:
    computer.mount("0:44", "/mnt", "/dev/sdr1")  # as btrfs does
    assert refusals(computer.describe("/dev/sdr"), IMAGE, "4C530001") == ["/dev/sdr is in use: mounted at /mnt"]


@pytest.mark.negative
def test_swap_on_a_stick_is_use(computer: Computer) -> None:
    computer.swaps.append("/dev/sdr1 partition 1000 0 -2")
    assert refusals(computer.describe("/dev/sdr"), IMAGE, "4C530001") == ["/dev/sdr is in use: swap on sdr1"]


@pytest.mark.negative
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size_bytes": 0}, "a reader without a card"),
        ({"size_bytes": IMAGE - 1}, "too small"),
        ({"size_bytes": 500 * 10**9}, "too large to be a stick"),
        ({"read_only": True}, "read-only"),
        ({"transport": "mmc"}, "not a USB stick: it hangs on mmc"),
        ({"transport": "nvme"}, "not a USB stick"),
    ],
)
def test_other_refusals(computer: Computer, change: dict[str, Any], reason: str) -> None:
    facts = replace(computer.describe("/dev/sdr"), **change)
    (refusal,) = refusals(facts, IMAGE, "4C530001")
    assert reason in refusal


def test_a_stick_that_is_called_256_gb_is_large_enough_to_be_true(computer: Computer) -> None:
    facts = replace(computer.describe("/dev/sdr"), size_bytes=256_060_514_304)
    assert refusals(facts, IMAGE, "4C530001") == []


def test_another_rule_can_let_loop_devices_through(computer: Computer) -> None:
    facts = replace(computer.describe("/dev/sdr"), transport="loop", serial=None)
    assert refusals(facts, IMAGE, None, Rule(frozenset({"loop"}), serial_required=False)) == []


# Writing to files


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "source.img"
    head = bytearray(os.urandom(512))
    head[510:512] = b"\x55\xaa"
    path.write_bytes(bytes(head) + os.urandom(9 * 2**20 + 77))
    return path


def test_a_file_is_written_complete_private_and_with_progress(tmp_path: Path, image: Path) -> None:
    target, heard = tmp_path / "stick.img", list[Event]()
    written = write_stick(image, target, heard.append)
    assert target.read_bytes() == image.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o600
    assert written.sha256 == hashlib.sha256(image.read_bytes()).hexdigest()
    last = {event.name: (event.done, event.total) for event in heard if isinstance(event, Progress)}
    size = image.stat().st_size
    assert last == {"write the stick": (size, size), "read back": (size, size)}
    assert sorted(path.name for path in tmp_path.glob("*img*")) == ["source.img", "stick.img"]


OLDER = (b"PK" + b"x" * 1000, b"\0" * 510 + b"\x55\xaa" + b"a virtual machine's disk", b"")


@pytest.mark.negative
@pytest.mark.parametrize("content", OLDER, ids=["a document", "a disk image", "an empty file"])
def test_a_file_is_kept_unless_forced(tmp_path: Path, image: Path, content: bytes) -> None:
    target = tmp_path / "stick.img"
    target.write_bytes(content)
    for attempt in (lambda: write_stick(image, target, discard), lambda: find_target(target)):
        with pytest.raises(Refused, match="exists; nothing was written") as refused:
            attempt()
        assert "--force" in (refused.value.hint or "")
    assert target.read_bytes() == content
    assert find_target(target, force=True) == target
    write_stick(image, target, discard, force=True)
    assert target.read_bytes() == image.read_bytes()


@pytest.mark.negative
@pytest.mark.parametrize("name", ["sdb", "/sdb", "./sdb", "dev/sdb", "nvme0n1", "stick", "thesis.odt", "stick.img.gz"])
def test_a_name_that_may_be_meant_for_a_device_makes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no device, and no name for the file of a stick") as wrong:
        find_target(Path(name))
    assert ".img" in (wrong.value.hint or "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.negative
def test_the_device_that_was_meant_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_block_device", lambda path: path == Path("/dev/sdb"))
    with pytest.raises(UsageError) as wrong:
        find_target(Path("sdb"))
    assert wrong.value.hint == "did you mean /dev/sdb?"


@pytest.mark.negative
def test_what_is_neither_a_file_nor_a_device_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.img")
    (tmp_path / "folder.img").mkdir()
    (tmp_path / "ring.img").symlink_to("ring.img")
    (tmp_path / "unplugged.img").symlink_to("/dev/disk/by-id/usb-SanDisk_4C530001-0:0")
    for named, said in (
        (tmp_path, "is a directory"),
        (tmp_path / "folder.img", "is a directory"),
        (tmp_path / "fifo.img", "is a FIFO"),
        (Path("/dev/null"), "is a character device"),
        (Path("/dev/no-such-device"), "is not a block device that is here"),
        (tmp_path / "unplugged.img", "is not a block device that is here"),
        (tmp_path / "ring.img", "cannot be a stick"),
        (tmp_path / ("x" * 300 + ".img"), "cannot be a stick"),
        (Path("a\0b.img"), "cannot be a stick"),
        (tmp_path / "no" / "stick.img", "there is no directory"),
    ):
        with pytest.raises(UsageError, match=said) as wrong:
            find_target(named)
        assert wrong.value.hint or "no directory" in said


@pytest.mark.negative
def test_the_image_is_not_written_onto_itself(tmp_path: Path, image: Path) -> None:
    (tmp_path / "link.img").hardlink_to(image)
    with pytest.raises(UsageError, match="the image itself"):
        write_stick(image, tmp_path / "link.img", discard)


@pytest.mark.negative
def test_what_is_neither_file_nor_device_is_refused(image: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        write_stick(image, tmp_path, discard)
    with pytest.raises(UsageError, match="no directory"):
        write_stick(image, tmp_path / "no" / "stick.img", discard)


@pytest.mark.negative
def test_a_medium_that_forgets_is_caught_and_leaves_no_file(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = os.pread

    def flipped(handle: int, count: int, offset: int) -> bytes:
        data = bytearray(honest(handle, count, offset))
        if offset == 2 * stick_target.CHUNK:
            data[100] ^= 1
        return bytes(data)

    monkeypatch.setattr("homelab_provision.image.stick_target.os.pread", flipped)
    with pytest.raises(ProvisionError, match="differs from what was written"):
        write_stick(image, tmp_path / "stick.img", discard)
    assert [path.name for path in tmp_path.glob("*img*")] == ["source.img"]


def test_a_full_disk_is_said_and_leaves_no_file(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("homelab_provision.image.stick_target.os.pwrite", full)
    with pytest.raises(ProvisionError, match="No space left"):
        write_stick(image, tmp_path / "stick.img", discard)
    assert [path.name for path in tmp_path.glob("*img*")] == ["source.img"]


@pytest.mark.negative
def test_a_file_in_the_place_of_a_device_is_not_written(computer: Computer, tmp_path: Path, image: Path) -> None:
    impostor = tmp_path / "sdr"
    impostor.write_bytes(b"precious")
    facts = replace(computer.describe("/dev/sdr"), path=impostor)
    with pytest.raises(Refused, match="not the device any more"):
        write_stick(image, facts, discard)
    assert impostor.read_bytes() == b"precious"


EXCHANGED: dict[str, dict[str, Any]] = {
    "serial number": {"serial": "4C530002"},
    "model": {"model": "Kingston DataTraveler"},
    "size": {"size_bytes": 31 * 10**9},
    "port": {"place": "USB 1-3"},
    "device number": {"number": "65:48"},
    "number of the insertion": {"sequence": "8"},
}


@pytest.mark.negative
@pytest.mark.parametrize("what", EXCHANGED)
def test_a_stick_that_was_exchanged_is_refused(computer: Computer, what: str) -> None:
    """The same stick that was pulled and plugged in again has another number of its insertion."""
    before = computer.describe("/dev/sdr")
    require_same(before, replace(before, mounts=("/mnt",)))
    with pytest.raises(Refused, match="not the device any more") as refused:
        require_same(before, replace(before, **EXCHANGED[what]))
    assert (refused.value.evidence or "").startswith(f"{what}: was ")


def test_files_and_devices_are_told_apart(tmp_path: Path) -> None:
    assert not is_device(tmp_path / "stick.img")
    assert is_device(Path("/dev/no-such-device"))


def test_the_confirmation_is_told_which_serial_is_wanted(computer: Computer) -> None:
    (refusal,) = refusals(computer.describe("/dev/sdr"), IMAGE, "WRONG")
    assert re.search(r"serial number is `4C530001`, given was `WRONG`", refusal)
