"""The ways through a system that still lives: what is handed to it, and when they are not gone at all."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import ways
from homelab_provision.errors import ProvisionError
from homelab_provision.image.rescue import Rescue
from homelab_provision.ways import _living, bootnext, kexec, way_called
from homelab_provision.ways.kexec import load
from tests.unit.site.sites import MACHINES, site_of


class Ssh:
    """An old system that does what it is told, here, or refuses."""

    def __init__(self, status: int = 0, says: str = "") -> None:
        self.status, self.says = status, says
        self.words: list[tuple[str, ...]] = []
        self.input = b""

    def run(self, alias: str, *words: str, **options: Any) -> Any:
        self.words.append((alias, *words))
        self.input = options.get("input", b"")
        return subprocess.CompletedProcess(words, self.status, "", self.says)

    def forget(self, alias: str) -> None:
        self.words.append((alias, "forgotten"))


@pytest.fixture
def rescue(tmp_path: Path) -> Rescue:
    for name in ("BOOTX64.EFI", "grubnetx64.efi", "mmx64.efi", "vmlinuz", "rescue.img"):
        (tmp_path / name).write_text(name)
    return Rescue(tmp_path, "0")


def start_of(ssh: Ssh, rescue: Rescue) -> Any:
    machine = site_of(MACHINES).machine("wyse-a")
    return type("Start", (), {"ssh": ssh, "system": "db-wyse", "machine": machine, "rescue": rescue})()


def unpacked(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        return {entry.name: found.extractfile(entry).read() for entry in found}  # type: ignore[union-attr]


def test_signed_loaders_lie_where_the_firmware_is_sent(rescue: Rescue) -> None:
    ssh = Ssh()
    bootnext.stage(start_of(ssh, rescue), bootnext.contents(rescue, b"personal"))
    files = unpacked(ssh.input)
    # shim loads the GRUB beside it, and that GRUB reads its configuration below /grub.
    assert files["EFI/hlp-rescue/shimx64.efi"] == b"BOOTX64.EFI"
    assert files["EFI/hlp-rescue/grubx64.efi"] == b"grubnetx64.efi"
    assert b"initrd /EFI/hlp-rescue/rescue.img /EFI/hlp-rescue/site.img\n" in files["grub/grub.cfg"]
    assert files["EFI/hlp-rescue/site.img"] == b"personal"
    told = ssh.words[0][5:]
    assert told == (
        "homelab-provision rescue",
        "EFI/hlp-rescue",
        "grub/grub.cfg",
        r"\EFI\hlp-rescue\shimx64.efi",
        str(len(ssh.input)),
    )


@pytest.mark.negative
def test_what_the_old_system_says_against_it_is_told(rescue: Rescue) -> None:
    ssh = Ssh(1, "its EFI system partition has 12 bytes left, and 99 are needed\n")
    with pytest.raises(ProvisionError, match=r"wyse-a cannot be told to start the rescue: its EFI .* 12 bytes left"):
        bootnext.stage(start_of(ssh, rescue), {})


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.skipif(Path("/sys/firmware/efi/efivars").exists(), reason="this computer has such firmware")
def test_without_uefi_nothing_is_laid(tmp_path: Path) -> None:
    words = ["sh", str(bootnext.STAGE), "label", "EFI/x", "grub/grub.cfg", "loader", "1"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "it was not started by UEFI firmware\n")


@pytest.mark.processes
@pytest.mark.negative
def test_a_kernel_that_is_none_is_not_taken() -> None:
    """Whatever this computer's kernel says against it; the program goes as far as to ask."""
    files: dict[str, bytes | Path] = {load.KERNEL: b"no kernel", load.INITRD: b"no archive"}
    words = [sys.executable, "-I", "-c", kexec.LOAD.read_text(), "quiet"]
    done = subprocess.run(words, input=_living.packed(files), capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"its kernel takes no other in its place: ")


def test_each_archive_begins_where_the_kernel_looks() -> None:
    assert kexec.joined(b"12345", b"123") == b"12345\0\0\0" + b"123\0"


@pytest.mark.negative
def test_when_they_are_not_gone() -> None:
    machine = site_of(MACHINES).machine("wyse-a")
    sure = machine.model_copy(update={"survives_kexec": True})
    assert "none answers" in str(way_called("bootnext").objection(machine, False))
    assert way_called("bootnext").objection(machine, True) is None
    assert "survives_kexec: true" in str(way_called("kexec").objection(machine, True))
    assert "none answers" in str(way_called("kexec").objection(sure, False))
    assert way_called("kexec").objection(sure, True) is None


@pytest.mark.parametrize(
    ("answers", "survives", "no_dnsmasq", "way", "not_these"),
    [
        (True, False, False, "bootnext", []),
        (False, True, False, "netboot", ["bootnext"]),
        (True, False, True, "bootnext", []),
        (False, False, True, "usb", ["bootnext", "netboot", "kexec"]),
    ],
)
def test_the_safest_way_that_can_be_gone(
    answers: bool,
    survives: bool,
    no_dnsmasq: bool,
    way: str,
    not_these: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None if no_dnsmasq else f"/usr/sbin/{name}")
    machine = site_of(MACHINES).machine("wyse-a").model_copy(update={"survives_kexec": survives})
    chosen = ways.choose(machine, answers)
    assert (chosen.name, list(chosen.objections)) == (way, not_these)
