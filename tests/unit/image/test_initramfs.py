"""What the rescue is made of: the archive, libraries, drivers, keys."""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from homelab_provision.image import cpio, elf, firmware, kernel_modules, rescue
from homelab_provision.image.medium import HostKey, personalisation
from homelab_provision.image.mmdebstrap import BuildError
from homelab_provision.image.rescue import FILES
from homelab_provision.image.rescue_contents import MODULES, PROGRAMS
from homelab_provision.image.root_archive import RootArchive
from homelab_provision.image.stick import GRUB_CONFIG, partition_table
from homelab_provision.phases.confirm import is_code


def read_archive(data: bytes) -> dict[str, tuple[int, bytes]]:
    """A reader of the format, apart from the writer: name to mode and content."""
    found: dict[str, tuple[int, bytes]] = {}
    position = 0
    while True:
        assert data[position : position + 6] == b"070701"
        fields = [int(data[position + 6 + i * 8 : position + 14 + i * 8], 16) for i in range(13)]
        name = data[position + 110 : position + 110 + fields[11] - 1].decode()
        position += -(-(110 + fields[11]) // 4) * 4
        if name == cpio.TRAILER:
            return found
        found[name] = (fields[1], data[position : position + fields[6]])
        position += -(-fields[6] // 4) * 4


def test_the_archive_reads_back() -> None:
    entries = [
        cpio.directory("a"),
        cpio.regular("a/b", b"12345", 0o600),
        cpio.symlink("c", "a/b"),
        cpio.character_device("n", 1, 3),
    ]
    data = b"".join(cpio.archive(entries))
    assert read_archive(data) == {
        "a": (0o040755, b""),
        "a/b": (0o100600, b"12345"),
        "c": (0o120777, b"a/b"),
        "n": (0o020600, b""),
    }
    assert data == b"".join(cpio.archive(entries))
    assert len(data) % 4 == 0


def test_the_personalisation_carries_keys_that_only_root_can_read() -> None:
    files = read_archive(
        personalisation("ssh-ed25519 AAAA me\n", HostKey("PRIVATE\n", "ssh-ed25519 BBBB\n"), "stick-1", 300)
    )
    assert files["etc/ssh/ssh_host_ed25519_key"] == (0o100600, b"PRIVATE\n")
    assert files["root/.ssh/authorized_keys"] == (0o100600, b"ssh-ed25519 AAAA me\n")
    assert files["root/.ssh"][0] == 0o040700
    assert files["etc/rescue/conf"][1] == b"RESCUE_ID=stick-1\nDEADMAN_SECONDS=300\n"


@pytest.mark.parametrize("name", ["", "a b", "x;reboot", "$(id)", "a\nb", "'"])
def test_a_medium_s_name_cannot_be_a_command(name: str) -> None:
    with pytest.raises(ValueError, match="not a plain name"):
        personalisation("", HostKey("", ""), name)


def test_the_stick_s_table_follows_from_the_rescue() -> None:
    assert partition_table(48 << 20, "a" * 64) == partition_table(48 << 20, "a" * 64)
    assert partition_table(48 << 20, "a" * 64) != partition_table(48 << 20, "b" * 64)


def test_the_boot_waits_for_nobody() -> None:
    assert "menuentry" not in GRUB_CONFIG
    assert "initrd /rescue/rescue.img /rescue/site.img" in GRUB_CONFIG


def _modinfo(**fields: str) -> bytes:
    return b"\x7fELF code\0" + b"".join(f"{key}={value}".encode() + b"\0" for key, value in fields.items()) + b"\0data"


def test_drivers_come_with_all_that_they_need_in_order() -> None:
    files = {
        "k/ahci.ko": _modinfo(alias="pci:v1*", depends="libahci,libata,scsi-mod"),
        "k/libahci.ko": _modinfo(depends="libata,scsi_mod"),
        "k/libata.ko": _modinfo(depends="scsi_mod"),
        "k/scsi_mod.ko": _modinfo(depends="scsi_common"),
        "k/scsi_common.ko": _modinfo(depends=""),
        "k/other.ko": _modinfo(depends=""),
    }
    paths = {path[2:-3]: path for path in files}
    chosen = kernel_modules.closure(["ahci", "built_in"], paths, files.__getitem__, {"built_in"})
    assert {module.name for module in chosen} == {"ahci", "libahci", "libata", "scsi_mod", "scsi_common"}
    line = next(line for line in kernel_modules.modules_dep(chosen).splitlines() if line.startswith("k/ahci.ko:"))
    # modprobe loads from the end of the line
    assert line.split()[1:] == ["k/libahci.ko", "k/libata.ko", "k/scsi_mod.ko", "k/scsi_common.ko"]
    assert kernel_modules.modules_alias(chosen) == "alias pci:v1* ahci\n"


def test_a_soft_dependency_is_brought_along() -> None:
    module = kernel_modules.read_module("k/ext4.ko", _modinfo(depends="jbd2", softdep="pre: crc32c post: zram"))
    assert module.depends == ("jbd2", "crc32c", "zram")


def _library(*sonames: str) -> bytes:
    """An ELF file with nothing but a dynamic section that needs these libraries."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in sonames)
    offsets = [strings.index(name.encode()) for name in sonames]
    dynamic_at, strings_at, base = 64 + 2 * 56, 0x400, 0x10000
    dynamic = b"".join(struct.pack("<QQ", 1, offset) for offset in offsets)
    dynamic += struct.pack("<QQQQ", 5, base + strings_at, 0, 0)
    header = b"\x7fELF\x02\x01\x01".ljust(32, b"\0") + struct.pack("<QQIHHHHHH", 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, base, base, 0x800, 0x800, 0x1000)
    table = struct.pack("<IIQQQQQQ", 2, 4, dynamic_at, base + dynamic_at, 0, len(dynamic), len(dynamic), 8)
    return (header + load + table + dynamic).ljust(strings_at, b"\0") + strings


def test_needed_libraries_are_read_from_the_program() -> None:
    assert elf.needed(_library("libc.so.6", "libz.so.1")) == ("libc.so.6", "libz.so.1")
    assert elf.needed(b"#!/bin/sh\n") == ()


def test_the_rescue_has_what_a_rebuild_needs() -> None:
    for program in ("sfdisk", "wipefs", "mke2fs", "resize2fs", "e2fsck", "efibootmgr", "zstd", "sshd"):
        assert any(Path(path).name == program for path in PROGRAMS), program
    assert {"ahci", "nvme", "mmc_block", "usb_storage", "uas", "r8169", "e1000e", "virtio_net"} <= set(MODULES)
    assert not {"dm_mod", "raid1", "md_mod", "zfs"} & set(MODULES), "nothing on a disk may be assembled by itself"


@pytest.mark.processes
def test_every_start_makes_a_code_that_only_root_can_read(tmp_path: Path) -> None:
    init = (FILES / "init").read_text()
    make_code = init[init.index("make_code() {") : init.index("\n}\n", init.index("make_code() {")) + 3]
    script = make_code.replace("/run/rescue", str(tmp_path)) + 'make_code; echo "$code"'
    shown = {subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True).stdout for _ in range(5)}
    assert len(shown) == 5
    assert all(is_code(code) and code[4] == "-" for code in shown)
    assert (tmp_path / "code").read_text() in shown
    assert (tmp_path / "code").stat().st_mode & 0o777 == 0o600
    assert init.index("\nmake_code\n") < init.index("/usr/sbin/sshd")
    assert init.index("\nmake_code\n") < init.index("\nbanner #") < init.index("/usr/sbin/sshd")
    assert "confirmation code: $code" in init


@pytest.mark.negative
def test_a_driver_that_the_kernel_does_not_have_fails_the_build() -> None:
    read = {"k/ahci.ko": _modinfo(depends="")}
    assert kernel_modules.closure(["ahci"], {"ahci": "k/ahci.ko"}, read.__getitem__)
    with pytest.raises(BuildError, match="no module crc32c_cryptoapi, nvme_x"):
        kernel_modules.closure(["ahci", "nvme-x", "crc32c_cryptoapi"], {"ahci": "k/ahci.ko"}, read.__getitem__)


def test_what_is_part_of_the_kernel_is_known_from_its_list() -> None:
    assert kernel_modules.built_in("kernel/drivers/input/serio/i8042.ko\nkernel/a/dmi-sysfs.ko\n") == {
        "i8042",
        "dmi_sysfs",
    }


def test_drivers_name_their_firmware_and_what_must_be_loaded_before() -> None:
    data = b"ELF\0softdep=pre: platform:idma64\0firmware=rtl_nic/a.fw\0firmware=rtl_nic/b.fw\0depends=\0"
    module = kernel_modules.read_module("k/r8169.ko", data)
    assert module.firmware == ("rtl_nic/a.fw", "rtl_nic/b.fw")
    assert module.depends == ("idma64",)


def a_root(folder: Path, files: dict[str, bytes]) -> RootArchive:
    with tarfile.open(folder / "root.tar", "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return RootArchive(folder / "root.tar")


def rescue_files(folder: Path, firmware: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    base = "usr/lib/modules/6.12.1-amd64"
    driver = b"ELF\0firmware=rtl_nic/rtl8125b-2.fw\0depends=\0"
    files = {f"{base}/kernel/r8169.ko": driver, f"{base}/modules.builtin": b"kernel/i8042.ko\n"}
    monkeypatch.setattr(rescue, "MODULES", ("r8169", "i8042"))
    with a_root(folder, files | {f"usr/lib/firmware/{name}": b"firmware" for name in firmware}) as root:
        return [entry.name for entry in rescue._modules(root, "6.12.1-amd64")]


def test_the_rescue_has_the_firmware_that_its_drivers_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rescue_files(tmp_path, ("rtl_nic/rtl8125b-2.fw", "rtw89/rtw8922a_fw.bin"), monkeypatch)
    assert "usr/lib/firmware/rtl_nic/rtl8125b-2.fw" in found
    assert not any("rtw89" in name for name in found)


@pytest.mark.negative
def test_firmware_that_no_package_brings_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match=r"rtl_nic/rtl8125b-2\.fw"):
        rescue_files(tmp_path, (), monkeypatch)


INITRAMFS = b"070701 " + b" ".join(name.encode() for name in firmware.EARLY_MICROCODE) + b" and zstd"


def image_root(folder: Path, without: str = "", initramfs: bytes = INITRAMFS) -> RootArchive:
    names = (pattern.replace("*", "x") for pattern in firmware.WANTED if pattern != without)
    files = {f"usr/lib/firmware/{name}": b"firmware" for name in names}
    return a_root(folder, files | {"boot/initrd.img-6.12.1-amd64": initramfs})


def test_an_image_with_all_firmware_is_accepted(tmp_path: Path) -> None:
    with image_root(tmp_path) as root:
        firmware.check_firmware(root)


@pytest.mark.negative
@pytest.mark.parametrize("pattern", firmware.WANTED)
def test_a_pattern_that_matches_nothing_fails_the_build(tmp_path: Path, pattern: str) -> None:
    with image_root(tmp_path, without=pattern) as root, pytest.raises(BuildError) as failed:
        firmware.check_firmware(root)
    assert pattern in failed.value.message


@pytest.mark.negative
@pytest.mark.parametrize("missing", firmware.EARLY_MICROCODE)
def test_an_initramfs_without_microcode_fails_the_build(tmp_path: Path, missing: str) -> None:
    """As it is when the computer that builds has another maker's processor."""
    with (
        image_root(tmp_path, initramfs=INITRAMFS.replace(missing.encode(), b"")) as root,
        pytest.raises(BuildError, match=missing),
    ):
        firmware.check_firmware(root)


@pytest.mark.negative
def test_a_root_without_a_kernel_is_told(tmp_path: Path) -> None:
    with a_root(tmp_path, {}) as root, pytest.raises(BuildError, match="nothing that is called /boot/vmlinuz"):
        root.first("boot/vmlinuz-*")
