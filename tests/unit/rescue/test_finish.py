"""`personalise` and `commit`: a written disk becomes a host, and gets its partition table last."""

from __future__ import annotations

import io
import json
import os
import uuid
from pathlib import Path
from types import ModuleType

import pytest

from homelab_provision.doors.process import run
from homelab_provision.identity.seed import File, archive
from homelab_provision.image.layout import GIB, ROOT_SPARE_BYTES, SECTOR, KeptData, Layout, plan_layout
from tests.unit.rescue.disks import MIB, Disk, MakeDisk, make_data, plan_for, small_layout

pytestmark = pytest.mark.processes
# As small as the real layout gets: the ESP, root with its spare room, as much data. The file behind it is sparse.
SIZE = 2 * (ROOT_SPARE_BYTES + 64 * MIB)
IDENTITY = {"etc/hostname": File("db-wyse\n"), "etc/ssh/ssh_host_ed25519_key": File("SECRET", 0o600)}


def table_of(disk: Disk) -> dict[str, object]:
    return dict(json.loads(run(["sfdisk", "--json", disk.device], deadline=20).stdout)["partitiontable"])


def expected(disk: Disk, layout: Layout) -> dict[str, object]:
    return {
        "label": "gpt",
        "id": layout.label_id,
        "partitions": [
            {
                "node": f"{disk.device}p{part.number}",
                "start": part.start,
                "size": part.sectors,
                "type": part.type_guid,
                "uuid": part.uuid,
                "name": part.name,
            }
            for part in layout.partitions
        ],
    }


@pytest.mark.parametrize("kept", [False, True], ids=["whole disk", "data kept"])
def test_commit_writes_exactly_the_layout(
    writer: ModuleType, make_disk: MakeDisk, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = make_disk(SIZE, filled=False)
    # Data that was laid out by somebody else: not aligned to a MiB, up to the backup table.
    start = (SIZE - 100 * MIB) // SECTOR
    keep = KeptData(start, SIZE // SECTOR - 33 - start, str(uuid.uuid4()).upper()) if kept else None
    layout = plan_layout(SIZE, 16 * MIB, keep=keep, identity="a run")

    writer.commit(plan_for(disk, layout, ()), None)

    table = table_of(disk)
    assert {key: table[key] for key in ("label", "id", "partitions")} == expected(disk, layout)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["result"], said["table"]) == ("committed", layout.label_id)


@pytest.mark.negative
def test_commit_does_not_believe_in_another_table_than_the_planned(
    writer: ModuleType, make_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = make_disk(SIZE, filled=False)
    layout = plan_layout(SIZE, 16 * MIB, identity="a run")
    plan = plan_for(disk, layout, ())
    plan["layout"]["sfdisk_script"] = plan["layout"]["sfdisk_script"].replace(f"size={layout.esp.sectors}", "size=4096")
    with pytest.raises(writer.GiveUp, match="it should read"):
        writer.commit(plan, None)


def make_root(disk: Disk, layout: Layout, folder: Path, size: str = "4M") -> None:
    """The root file system of an image where `write` would have put it; 4 MiB fill the partition."""
    (folder / "tree/etc/ssh").mkdir(parents=True)
    (folder / "tree/etc/hostname").write_text("image\n")
    image = folder / "root.ext4"
    run(["mke2fs", "-q", "-t", "ext4", "-b", "1024", "-d", folder / "tree", image, size], deadline=30)
    with disk.device.open("r+b") as device:
        device.seek(layout.root.offset_bytes)
        device.write(image.read_bytes())
        device.flush()
        os.fsync(device.fileno())


def inside(disk: Disk, start: int, length: int, folder: Path) -> Path:
    """A partition as a file of its own."""
    copy = folder / f"part-{start}"
    copy.write_bytes(disk.read(start, length))
    return copy


@pytest.mark.parametrize("kept", [False, True], ids=["new data", "data kept"])
def test_personalise_puts_the_identity_in_and_makes_or_keeps_the_data(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    disk, layout = make_disk(16 * MIB, filled=False), small_layout(16 * MIB)
    make_root(disk, layout, tmp_path)
    plan = plan_for(disk, layout, (), keep_data=kept)
    data = layout.data.offset_bytes, layout.data.size_bytes
    if kept:
        make_data(disk, layout, tmp_path)
    before = disk.digest(*data)
    monkeypatch.setattr(writer, "ROOT_MOUNT", tmp_path / "mounted")

    writer.personalise(plan, io.BytesIO(archive(IDENTITY)))

    root = inside(disk, layout.root.offset_bytes, layout.root.size_bytes, tmp_path)
    run(["e2fsck", "-f", "-n", root], deadline=30)
    assert run(["debugfs", "-R", "cat /etc/hostname", root], deadline=10).stdout == "db-wyse\n"
    label = run(["e2label", inside(disk, *data, tmp_path)], deadline=10).stdout.strip()
    assert label == ("mine" if kept else "hlp-srv")
    assert (disk.digest(*data) == before) is kept
    assert not Path(f"{disk.device}p1").exists()  # the kernel's partitions are gone again


def may_resize() -> bool:
    """Growing a mounted ext4 wants CAP_SYS_RESOURCE (number 24), which root in a container may lack."""
    status = Path("/proc/self/status").read_text()
    return bool(int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16) >> 24 & 1)


@pytest.mark.skipif(not may_resize(), reason="growing a mounted file system needs CAP_SYS_RESOURCE")
def test_root_grows_to_its_partition(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, layout = make_disk(16 * MIB, filled=False), small_layout(16 * MIB)
    make_root(disk, layout, tmp_path, "2M")
    monkeypatch.setattr(writer, "ROOT_MOUNT", tmp_path / "mounted")
    writer.personalise(plan_for(disk, layout, ()), io.BytesIO(archive(IDENTITY)))
    root = inside(disk, layout.root.offset_bytes, layout.root.size_bytes, tmp_path)
    shown = run(["dumpe2fs", "-h", root], deadline=10).stdout.splitlines()
    (blocks,) = [line.split()[-1] for line in shown if line.startswith("Block count:")]
    assert int(blocks) * 1024 == layout.root.size_bytes


def test_nodes_of_partitions_are_named_as_the_kernel_names_them(module: ModuleType) -> None:
    layout = plan_layout(64 * GIB, GIB, identity="a run").as_plan()
    disks = ("/dev/sda", "/dev/nvme0n1", "/dev/mmcblk0")
    named = [module.node({"disk": disk, "layout": layout}, "hlp-srv") for disk in disks]
    assert named == ["/dev/sda3", "/dev/nvme0n1p3", "/dev/mmcblk0p3"]
