"""When is a disk empty? Real images, looked at by the code that the rescue runs and judged as a rebuild judges them."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from homelab_provision.doors.process import run
from homelab_provision.errors import Refused
from homelab_provision.machine.target import Allowance
from homelab_provision.rescue import facts as rescue_facts
from tests.unit.rescue.loops import SERIAL, attached, facts_of, judge

pytestmark = pytest.mark.processes
MIB = 2**20
# Too large to be read as a whole: what is found in the middle is found by sampling.
SIZE = 200 * MIB
NOISE = random.Random(5070)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def write(image: Path, *pieces: tuple[int, bytes]) -> None:
    with image.open("r+b") as file:
        for at, data in pieces:
            file.seek(at if at >= 0 else SIZE + at)
            file.write(data)


def sfdisk(target: Path, script: str) -> None:
    run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", target], input=script, deadline=20)


def ext4(image: Path, at: int = 0, size: int = SIZE) -> None:
    """A file system with files in it, from byte `at`."""
    tree = image.parent / "tree"
    tree.mkdir(exist_ok=True)
    for number in range(8):
        (tree / f"{number}").write_bytes(NOISE.randbytes(MIB))
    made = image.parent / "made.ext4"
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", tree, made, f"{size // 1024}k"], deadline=60)
    write(image, (at, made.read_bytes()))


def gpt_with_ext4(image: Path) -> None:
    sfdisk(image, "label: gpt\nstart=2048, type=linux\n")
    ext4(image, MIB, SIZE - 2 * MIB)


# ---- empty -------------------------------------------------------------------------------------------------------


def dos_label(image: Path) -> None:
    sfdisk(image, "label: dos\nlabel-id: 0x12345678\n")


def gpt_label(image: Path) -> None:
    sfdisk(image, "label: gpt\n")


def erased_flash(image: Path) -> None:
    image.write_bytes(b"\xff" * SIZE)


def half_erased_flash(image: Path) -> None:
    write(image, (SIZE // 2, b"\xff" * (SIZE // 2)))


EMPTY: list[Callable[[Path], None]] = [lambda image: None, gpt_label, dos_label, erased_flash, half_erased_flash]


@pytest.mark.parametrize("make", EMPTY, ids=["zeros", "GPT", "DOS table", "erased flash", "partly erased flash"])
def test_an_empty_disk_is_written_without_a_question(image: Path, make: Callable[[Path], None]) -> None:
    make(image)
    with attached(image) as device:
        target = judge(device)
    assert (target.allowed_by, target.content) == (Allowance.BLANK, ())


@pytest.mark.parametrize("size", [MIB, 48 * MIB + 512, 64 * MIB, 64 * MIB + 512, SIZE + 3584])
def test_a_disk_may_have_any_size(image: Path, size: int) -> None:
    os.truncate(image, size)
    with attached(image) as device:
        assert judge(device).allowed_by == Allowance.BLANK


# ---- not empty ---------------------------------------------------------------------------------------------------


def first_copy_overwritten(image: Path) -> None:
    gpt_with_ext4(image)
    write(image, (512, bytes(33 * 512)))


def both_headers_overwritten(image: Path) -> None:
    gpt_with_ext4(image)
    write(image, (512, bytes(512)), (-512, bytes(512)))


def start_overwritten(image: Path) -> None:
    gpt_with_ext4(image)
    write(image, (0, bytes(34 * 512)))


def flipped_bit_in_both_headers(image: Path) -> None:
    gpt_with_ext4(image)
    for at in (512 + 40, -512 + 40):
        write(image, (at, b"\x55"))


def flipped_bit_in_the_list(image: Path) -> None:
    gpt_with_ext4(image)
    write(image, (1024 + 20, b"\x55"), (-33 * 512 + 20, b"\x55"))


def gpt_of_4096_byte_sectors(image: Path) -> None:
    with attached(image, 4096) as device:
        run(["sfdisk", "--quiet", "--no-reread", device], input="label: gpt\nstart=256, type=linux\n", deadline=20)


def gpt_of_4096_byte_sectors_without_partitions(image: Path) -> None:
    with attached(image, 4096) as device:
        run(["sfdisk", "--quiet", "--no-reread", device], input="label: gpt\n", deadline=20)


def partition_deleted(image: Path) -> None:
    gpt_with_ext4(image)
    run(["sfdisk", "--quiet", "--no-reread", "--delete", image], deadline=20)


def hybrid_table(image: Path) -> None:
    gpt_label(image)
    write(image, (462, bytes([0, 0, 2, 0, 0x0C, 255, 255, 255]) + struct.pack("<II", 4096, 8192)))


def entry_that_the_kernel_ignores(image: Path) -> None:
    dos_label(image)
    write(image, (446, bytes([0, 0, 2, 0, 0x83, 255, 255, 255]) + struct.pack("<II", 2**31, 8192)))


def entry_without_a_type(image: Path) -> None:
    dos_label(image)
    write(image, (446, bytes(8) + struct.pack("<II", 2048, 8192)))


def boot_code(image: Path) -> None:
    dos_label(image)
    write(image, (0, b"\xeb\x63\x90"))


def protective_table_alone(image: Path) -> None:
    gpt_label(image)
    write(image, (512, bytes(512)), (-512, bytes(512)))


def backup_alone(image: Path) -> None:
    gpt_label(image)
    write(image, (0, bytes(1024)))


def backup_lost(image: Path) -> None:
    gpt_label(image)
    write(image, (-512, bytes(512)))


def gpt_of_a_smaller_disk(image: Path) -> None:
    os.truncate(image, SIZE - 32 * MIB)
    gpt_label(image)
    os.truncate(image, SIZE)


def partly_overwritten(megabytes: int) -> Callable[[Path], None]:
    def make(image: Path) -> None:
        ext4(image)
        write(image, (0, bytes(megabytes * MIB)))

    return make


def noise(at: int, length: int) -> Callable[[Path], None]:
    return lambda image: write(image, (at, NOISE.randbytes(length)))


def encrypted_without_a_header(image: Path) -> None:
    image.write_bytes(NOISE.randbytes(SIZE))


def raid_of_version_0_90(image: Path) -> None:
    write(image, (SIZE - 64 * 1024, struct.pack("<IIII", 0xA92B4EFC, 0, 90, 0)))


def raid_of_version_1_0(image: Path) -> None:
    write(image, (SIZE - 8 * 1024, struct.pack("<II", 0xA92B4EFC, 1)))


def zfs_label_at_the_end(image: Path) -> None:
    write(image, (SIZE - 256 * 1024 + 128 * 1024, struct.pack("<QQ", 0x00BAB10C, 5000)))


def luks(image: Path) -> None:
    write(image, (0, b"LUKS\xba\xbe\x00\x01aes"))


def apple_map(image: Path) -> None:
    entry = struct.pack(">HHIII32s32s", 0x504D, 0, 1, 64, 300_000, b"disk", b"Apple_HFS")
    write(image, (0, b"ER" + struct.pack(">HI", 512, SIZE // 512)), (512, entry))


def bsd_disklabel(image: Path) -> None:
    write(image, (512, struct.pack("<I", 0x82564557)), (512 + 132, struct.pack("<I", 0x82564557)))


def swap(image: Path) -> None:
    run(["mkswap", "-q", image], deadline=20)


def fat_without_a_table(image: Path) -> None:
    run(["mkfs.vfat", image], deadline=20)


FOREIGN: list[Callable[[Path], None]] = [
    gpt_with_ext4,
    first_copy_overwritten,
    both_headers_overwritten,
    start_overwritten,
    flipped_bit_in_both_headers,
    flipped_bit_in_the_list,
    gpt_of_4096_byte_sectors,
    gpt_of_4096_byte_sectors_without_partitions,
    partition_deleted,
    hybrid_table,
    entry_that_the_kernel_ignores,
    entry_without_a_type,
    boot_code,
    protective_table_alone,
    backup_alone,
    backup_lost,
    gpt_of_a_smaller_disk,
    ext4,
    partly_overwritten(10),
    partly_overwritten(100),
    encrypted_without_a_header,
    noise(0, 1),
    noise(511, 1),
    noise(5 * MIB, 1),
    noise(SIZE - 1, 1),
    noise(90 * MIB, 2 * MIB),
    noise(128 * MIB + 1024, 512),
    raid_of_version_0_90,
    raid_of_version_1_0,
    zfs_label_at_the_end,
    luks,
    apple_map,
    bsd_disklabel,
    swap,
    fat_without_a_table,
]


@pytest.mark.negative
@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__qualname__.replace(".<locals>", ""))
def test_whatever_is_not_shown_to_be_empty_needs_the_users_word(image: Path, make: Callable[[Path], None]) -> None:
    make(image)
    with attached(image) as device:
        with pytest.raises(Refused, match="is not empty; nothing was written") as refused:
            judge(device)
        assert refused.value.hint is not None
        assert f"--erase {SERIAL}" in refused.value.hint
        target = judge(device, SERIAL)
    assert target.allowed_by == Allowance.OPTION
    assert target.content  # what will be gone is said


@pytest.mark.negative
def test_partitions_that_only_the_kernel_knows_are_no_dead_end(image: Path, module: ModuleType) -> None:
    part = {"number": 1, "start": 2048, "sectors": 8192}
    with attached(image) as device:
        with module.opened(str(device), os.O_RDWR) as handle:
            module.blkpg(handle, module.BLKPG_ADD, part)
        try:
            with pytest.raises(Refused) as refused:
                judge(device)
            assert f"{device.name}p1  a partition with unknown content" in (refused.value.evidence or "")
            assert judge(device, SERIAL).allowed_by == Allowance.OPTION
        finally:
            with module.opened(str(device), os.O_RDWR) as handle:
                module.blkpg(handle, module.BLKPG_DEL, part)


@pytest.mark.negative
def test_a_disk_with_sectors_of_4096_bytes_is_refused_whatever_is_on_it(image: Path) -> None:
    with attached(image, 4096) as device:
        assert facts_of(device)["sector_bytes"] == 4096
        for erase in ((), (SERIAL,)):
            with pytest.raises(Refused, match="sectors of 4096 bytes"):
                judge(device, *erase)


@pytest.mark.negative
def test_a_disk_that_cannot_be_read_is_not_empty(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it fails in one of the samples only."""
    honest = os.pread

    def failing(handle: int, length: int, at: int) -> bytes:
        if at > 100 * MIB:
            raise OSError(5, "Input/output error")
        return honest(handle, length, at)

    with attached(image) as device:
        monkeypatch.setattr(os, "pread", failing)
        with pytest.raises(Refused, match="could not be examined") as refused:
            judge(device, SERIAL)
    assert "Input/output error" in (refused.value.evidence or "")


def test_samples_reach_every_part_of_a_large_disk() -> None:
    size = 10**12
    first, further = list(rescue_facts.first_places(size)), list(rescue_facts.further_places(size))
    for places in (first, further):
        assert all(start >= 0 and start + length <= size for start, length in places)
        assert {start * 256 // size for start, _ in places} == set(range(256))
    assert sum(length for _, length in first) < 32 * MIB


@pytest.mark.negative
def test_a_disk_that_is_too_slow_is_not_called_empty(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescue_facts, "SLOWEST", -1.0)
    with attached(image) as device, pytest.raises(Refused, match="could not be examined"):
        judge(device, SERIAL)


def test_a_disk_with_patience_is_read_as_far_as_time_allows(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with attached(image) as device:
        all_of_it = facts_of(device)["sampled"]["read_bytes"]
        monkeypatch.setattr(rescue_facts, "PATIENCE", -1.0)
        least = facts_of(device)["sampled"]["read_bytes"]
    assert all_of_it > least > 16 * MIB
