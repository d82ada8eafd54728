"""`write`: the image goes to its places, the old table goes away, and whatever differs from the plan stops it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from homelab_provision.doors.process import run
from homelab_provision.phases import flash
from homelab_provision.rescue import facts as rescue_facts
from tests.unit.rescue.disks import (
    MIB,
    MakeDisk,
    make_data,
    packed,
    payload_of,
    pieces,
    plan_for,
    small_layout,
    written_pieces,
)

pytestmark = pytest.mark.processes
SIZE = 16 * MIB
# A disk may end anywhere: the writer's direct writes come in units of 4096 bytes, the rest needs another way.
CROOKED = SIZE + 3584


def write(writer: ModuleType, plan: dict[str, Any], payload: Path) -> None:
    with payload.open("rb") as stream:
        writer.write(plan, stream)


def give_up(writer: ModuleType, plan: dict[str, Any], payload: Path) -> str:
    with pytest.raises(writer.GiveUp) as stopped:
        write(writer, plan, payload)
    return str(stopped.value)


@pytest.mark.parametrize("size", [SIZE, CROOKED, SIZE + 512])
def test_image_stands_in_its_places_and_both_copies_of_the_old_table_are_gone(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, layout, image = make_disk(size), small_layout(size), pieces()
    disk.partition(layout)
    assert len(disk.tables()) >= 2  # first copy, backup copy (and the protective MBR, which some versions count)

    write(writer, plan_for(disk, layout, image), payload_of(image, tmp_path / "image.zst"))

    assert all(written_pieces(disk, layout, image))
    assert disk.tables() == []
    assert b"EFI PART" not in disk.read()
    between = disk.read(layout.esp.offset_bytes + 4096, MIB - 4096)
    assert set(between) == {0xAA, ord("\n")}  # what the image does not hold is not written
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"result": "written", "bytes": sum(len(piece.content) for piece in image), "digests": len(image)}


def test_extents_may_carry_any_digest_that_python_knows(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path
) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    plan = plan_for(disk, layout, image, digest_algorithm="sha256")
    for extent, piece in zip(plan["extents"], image, strict=True):
        extent["digest"] = hashlib.sha256(piece.content).hexdigest()
    write(writer, plan, payload_of(image, tmp_path / "image.zst"))
    assert all(written_pieces(disk, layout, image))


@pytest.mark.negative
@pytest.mark.parametrize(
    "changes",
    [{"serial": "another"}, {"serial": None}, {"wwn": "eui.0025385b71b03f1e"}, {"size_bytes": SIZE - 512}],
    ids=lambda change: str(change),
)
def test_another_disk_under_the_same_name_is_not_written(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, changes: dict[str, Any]
) -> None:
    disk, image = make_disk(SIZE), pieces()
    plan = plan_for(disk, small_layout(SIZE), image, **changes)
    before = disk.digest()
    assert "the plan wants serial" in give_up(writer, plan, payload_of(image, tmp_path / "image.zst"))
    with pytest.raises(writer.GiveUp):
        writer.commit(plan, None)
    assert disk.digest() == before


@pytest.mark.negative
def test_a_usb_disk_is_not_written_though_serial_and_size_are_right(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, image = make_disk(SIZE), pieces()
    before = disk.digest()
    monkeypatch.setattr(rescue_facts, "transport", lambda device: "usb")
    plan = plan_for(disk, small_layout(SIZE), image)
    assert "is usb" in give_up(writer, plan, payload_of(image, tmp_path / "image.zst"))
    assert disk.digest() == before


@pytest.mark.negative
def test_a_disk_in_use_is_not_written(writer: ModuleType, make_disk: MakeDisk, tmp_path: Path) -> None:
    disk, image = make_disk(SIZE), pieces()
    before = disk.digest()
    holder = os.open(disk.device, os.O_RDWR | os.O_EXCL)  # as a mounted file system or a volume holds it
    try:
        said = give_up(writer, plan_for(disk, small_layout(SIZE), image), payload_of(image, tmp_path / "image.zst"))
    finally:
        os.close(holder)
    assert "in use" in said
    assert disk.digest() == before


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


@pytest.mark.negative
@pytest.mark.parametrize("place", [0, 300_000, -1], ids=["first byte", "middle", "last byte"])
def test_one_flipped_byte_of_the_image_is_found_on_the_disk(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, place: int
) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    disk.partition(layout)
    content = b"".join(piece.content for piece in image)
    payload = packed(flipped(content, place % len(content)), tmp_path / "image.zst")
    assert "what the disk returns is not the image" in give_up(writer, plan_for(disk, layout, image), payload)
    assert disk.tables() == []


@pytest.mark.negative
def test_one_flipped_byte_of_the_payload_is_found(writer: ModuleType, make_disk: MakeDisk, tmp_path: Path) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    disk.partition(layout)
    payload = payload_of(image, tmp_path / "image.zst")
    payload.write_bytes(flipped(payload.read_bytes(), payload.stat().st_size // 2))
    assert give_up(writer, plan_for(disk, layout, image), payload)
    assert disk.tables() == []


@pytest.mark.negative
def test_what_the_medium_returns_counts_not_what_was_sent(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes a write and keeps something else."""
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    payload = payload_of(image, tmp_path / "image.zst")
    really = os.pwrite

    def lossy(handle: int, data: Any, position: int) -> int:
        return len(data) if position == layout.root.offset_bytes else really(handle, data, position)

    monkeypatch.setattr(os, "pwrite", lossy)
    assert "hlp-root at 0" in give_up(writer, plan_for(disk, layout, image), payload)


@pytest.mark.negative
@pytest.mark.parametrize("missing", [1, 512, MIB])
def test_a_short_image_is_refused(writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, missing: int) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    content = b"".join(piece.content for piece in image)
    payload = packed(content[:-missing], tmp_path / "image.zst")
    assert "ended early" in give_up(writer, plan_for(disk, layout, image), payload)
    assert disk.tables() == []


@pytest.mark.negative
def test_a_payload_that_was_cut_off_is_refused(writer: ModuleType, make_disk: MakeDisk, tmp_path: Path) -> None:
    disk, image = make_disk(SIZE), pieces()
    payload = payload_of(image, tmp_path / "image.zst")
    os.truncate(payload, payload.stat().st_size - 1)
    assert give_up(writer, plan_for(disk, small_layout(SIZE), image), payload)


@pytest.mark.negative
@pytest.mark.parametrize("more", [b"x", bytes(3 * MIB)], ids=["one byte", "3 MiB"])
def test_an_image_that_is_too_long_is_refused(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, more: bytes
) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    payload = packed(b"".join(piece.content for piece in image) + more, tmp_path / "image.zst")
    assert "longer than its manifest" in give_up(writer, plan_for(disk, layout, image), payload)
    assert disk.tables() == []


def past_superblock(data: tuple[int, int]) -> tuple[int, int]:
    """All of a file system but the block in which e2fsck counts what was ever written."""
    return data[0] + 2048, data[1] - 2048


# ---- the data that stays -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "spare"), [(SIZE, 0), (SIZE, 4096), (SIZE + 512, 0), (SIZE + 512, 7), (CROOKED, 0), (CROOKED, 8)]
)
def test_keep_data_leaves_every_byte_of_the_data_partition(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, size: int, spare: int
) -> None:
    disk, image = make_disk(size), pieces()
    layout = small_layout(size, spare=spare)
    make_data(disk, layout, tmp_path)
    disk.partition(layout)
    data = layout.data.offset_bytes, layout.data.size_bytes
    before = disk.digest(*past_superblock(data))

    write(writer, plan_for(disk, layout, image, keep_data=True), payload_of(image, tmp_path / "image.zst"))

    assert disk.digest(*past_superblock(data)) == before
    assert disk.tables() == []
    assert all(written_pieces(disk, layout, image))


def test_data_also_stays_when_the_image_is_damaged(writer: ModuleType, make_disk: MakeDisk, tmp_path: Path) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    make_data(disk, layout, tmp_path)
    data = layout.data.offset_bytes, layout.data.size_bytes
    before = disk.digest(*past_superblock(data))
    give_up(writer, plan_for(disk, layout, image, keep_data=True), packed(b"short", tmp_path / "image.zst"))
    assert disk.digest(*past_superblock(data)) == before


def test_the_journal_of_a_host_that_lost_its_power_is_replayed(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path
) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    make_data(disk, layout, tmp_path)
    data = layout.data.offset_bytes, layout.data.size_bytes
    mounted, lost = tmp_path / "srv", tmp_path / "lost.ext4"
    mounted.mkdir()
    where = f"loop,offset={data[0]},sizelimit={data[1]}"
    run(["mount", "-o", where, disk.device, mounted], deadline=20)
    try:
        (mounted / "rows").write_text("committed")
        run(["sync", "-f", mounted], deadline=20)
        lost.write_bytes(disk.read(*data))  # as the disk is when the power goes
    finally:
        run(["umount", mounted], deadline=20)
    assert "needs_recovery" in features(lost)
    with disk.device.open("r+b") as device:
        device.seek(data[0])
        device.write(lost.read_bytes())
        device.flush()
        os.fsync(device.fileno())  # or the kernel writes this back when it likes, over what came after

    write(writer, plan_for(disk, layout, image, keep_data=True), payload_of(image, tmp_path / "image.zst"))

    kept = tmp_path / "kept.ext4"
    kept.write_bytes(disk.read(*data))
    assert "needs_recovery" not in features(kept)
    assert run(["debugfs", "-R", "cat /rows", kept], deadline=10).stdout == "committed"


@pytest.mark.negative
def test_damaged_data_is_noticed_before_anything_is_written(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path
) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    before = disk.digest()
    said = give_up(writer, plan_for(disk, layout, image, keep_data=True), payload_of(image, tmp_path / "image.zst"))
    assert "nothing was written" in said
    assert disk.digest() == before
    assert not Path(f"{disk.device}p1").exists()  # the kernel's partitions are gone again


def features(file_system: Path) -> str:
    shown = run(["dumpe2fs", "-h", file_system], deadline=10).stdout.splitlines()
    return next(line for line in shown if line.startswith("Filesystem features:"))


# ---- as the rescue runs it -----------------------------------------------------------------------------------


def as_in_the_rescue(folder: Path, plan: dict[str, Any], payload: Path) -> subprocess.CompletedProcess[str]:
    """Our scripts and a plan beside each other, and nothing else of ours to import."""
    for script in (flash.WRITER, *flash.BESIDE):
        shutil.copy(script, folder / script.name)
    (folder / "flash.json").write_text(json.dumps(plan))
    argv = [sys.executable, "-E", "-s", str(folder / "writer.py"), "write", str(folder / "flash.json")]
    with payload.open("rb") as stream:
        return subprocess.run(argv, stdin=stream, capture_output=True, text=True, timeout=60, check=False, cwd="/")


@pytest.mark.negative
def test_the_program_says_in_json_why_it_gives_up(make_disk: MakeDisk, tmp_path: Path) -> None:
    disk, image = make_disk(SIZE), pieces()
    before = disk.digest()
    done = as_in_the_rescue(
        tmp_path, plan_for(disk, small_layout(SIZE), image), payload_of(image, tmp_path / "image.zst")
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "serial None" in json.loads(done.stdout)["error"]  # a loop device has no serial: it is no disk of ours
    assert disk.digest() == before
