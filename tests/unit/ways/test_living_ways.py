"""The ways through a system that still lives: what is handed to it, and when they are not gone at all."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision import ways
from homelab_provision.doors.ssh import Answer
from homelab_provision.errors import ProvisionError
from homelab_provision.image.rescue import Rescue
from homelab_provision.site.models import Firmware
from homelab_provision.ways import _living, bootnext, kexec, way_called
from homelab_provision.ways.kexec import load
from tests.unit.site.sites import MACHINES, site_of


class Ssh:
    """An old system that does what it is told, here, or refuses."""

    def __init__(self, status: int = 0, says: str = "", answers: Answer = Answer.OURS) -> None:
        self.status, self.says, self.answers = status, says, answers
        self.words: list[tuple[str, ...]] = []
        self.input = b""

    def answer(self, alias: str) -> Answer:
        return self.answers

    def run(self, alias: str, *words: str, **options: Any) -> Any:
        self.words.append((alias, *words))
        self.input = options.get("input") or self.input
        return subprocess.CompletedProcess(words, self.status, "", self.says)

    def forget(self, alias: str) -> None:
        self.words.append((alias, "forgotten"))


@pytest.fixture
def rescue(tmp_path: Path) -> Rescue:
    for name in ("BOOTX64.EFI", "grubnetx64.efi", "mmx64.efi", "vmlinuz", "rescue.img"):
        (tmp_path / name).write_text(name)
    return Rescue(tmp_path, "0")


def key(name: str) -> Any:
    return SimpleNamespace(public=f"ssh-ed25519 AAAA{name}", private=f"private key: {name}")


def start_of(ssh: Ssh, rescue: Rescue) -> Any:
    return SimpleNamespace(
        ssh=ssh,
        system="db-wyse",
        machine=site_of(MACHINES).machine("wyse-a"),
        rescue=rescue,
        identity=SimpleNamespace(controller=key("controller"), rescue=key("site")),
        medium=ways.Medium(rescue_id="home-1", path=rescue.directory),
    )


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
        "lay",
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
    words = ["sh", str(bootnext.STAGE), "lay", "label", "EFI/x", "grub/grub.cfg", "loader", "1"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "it was not started by UEFI firmware\n")


EFIBOOTMGR = """\
#!/bin/sh
cd {folder}
case "$*" in
    "") cat entries ;;
    *--create-only*) [ ! -e refuses ] && printf 'Boot0007* homelab-provision rescue\\tHD\\n' >>entries ;;
    *--delete-bootnum) sed -i "/^Boot$3/d" entries ;;
    *--delete-bootnext) sed -i /^BootNext/d entries ;;
    *--bootnext*) sed -i "1i BootNext: $3" entries ;;
esac
"""
OLD = "BootOrder: 0001\nBoot0001* debian\tHD\n"


class OldSystem:
    """Where the real `stage` runs: a folder as its EFI system partition, and firmware that remembers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.esp = folder, folder / "efi"
        (self.esp / "EFI/debian").mkdir(parents=True)
        self.esp.chmod(0o700)
        for made in ("sys/firmware/efi/efivars", "sys/devices/sda/sda1", "sys/class/block", "bin"):
            (folder / made).mkdir(parents=True)
        (folder / "sys/devices/sda/sda1/partition").write_text("1\n")
        (folder / "sys/class/block/sda1").symlink_to(folder / "sys/devices/sda/sda1")
        (folder / "entries").write_text(OLD)
        self.program("efibootmgr", EFIBOOTMGR.format(folder=folder))
        self.program("findmnt", "#!/bin/sh\necho /dev/sda1\n")
        self.program("df", "#!/bin/sh\necho Avail; echo 1000000\n")

    def program(self, name: str, text: str) -> None:
        (self.folder / "bin" / name).write_text(text)
        (self.folder / "bin" / name).chmod(0o755)

    def told(self, words: list[str], archive: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        script = words[2].replace("/sys/", f"{self.folder}/sys/").replace("/boot/efi", str(self.esp))
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        return subprocess.run(
            [*words[:2], script, *words[3:]], input=archive, env={"PATH": path}, capture_output=True, check=False
        )

    def lay(self, archive: bytes) -> subprocess.CompletedProcess[bytes]:
        return self.told(bootnext.staging("lay", bootnext.LOADER, str(len(archive))), archive)

    def entries(self) -> str:
        return (self.folder / "entries").read_text()

    def files(self) -> list[str]:
        return sorted(str(file.relative_to(self.esp)) for file in self.esp.rglob("*") if file.name != "debian")


@pytest.fixture
def old(tmp_path: Path) -> OldSystem:
    made = tmp_path / "old"
    made.mkdir()
    return OldSystem(made)


@pytest.fixture
def archive(rescue: Rescue) -> bytes:
    return _living.packed(bootnext.contents(rescue, b"personal"))


@pytest.mark.processes
def test_what_was_laid_is_started_once_and_cleared_away(old: OldSystem, archive: bytes) -> None:
    for _ in range(2):  # what a former start has left is no hindrance, and does not pile up
        done = old.lay(archive)
        assert done.returncode == 0, done.stderr
        assert old.entries() == f"BootNext: 0007\n{OLD}Boot0007* homelab-provision rescue\tHD\n"
        assert (old.esp / "EFI/hlp-rescue/site.img").read_bytes() == b"personal"
    done = old.told(bootnext.staging("clear"))
    assert (done.returncode, old.entries(), old.files()) == (0, OLD, ["EFI"]), done.stderr


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.parametrize("trouble", ["full", "cut", "between two files", "no entry", "open to all"])
def test_what_cannot_be_laid_whole_leaves_nothing(old: OldSystem, archive: bytes, trouble: str) -> None:
    if trouble == "full":
        old.program("df", "#!/bin/sh\necho Avail; echo 100\n")
    elif trouble == "cut":
        archive = archive[:700]
    elif trouble == "between two files":
        archive = archive[:1024]  # a header and its content, and nobody says that this was all
    elif trouble == "no entry":
        (old.folder / "refuses").touch()
    else:
        old.esp.chmod(0o755)
    done = old.lay(archive)
    assert (done.returncode != 0, old.entries(), old.files()) == (True, OLD, ["EFI"]), done.stderr


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.parametrize("task", ["lay", "clear"])
def test_somebody_else_s_configuration_stays(old: OldSystem, archive: bytes, task: str) -> None:
    config = old.esp / bootnext.CONFIG
    config.parent.mkdir()
    config.write_text("menuentry\n")
    done = old.lay(archive) if task == "lay" else old.told(bootnext.staging("clear"))
    assert b"of somebody else's" in done.stderr
    assert (done.returncode, old.entries(), config.read_text()) == (1, OLD, "menuentry\n")


@pytest.mark.negative
@pytest.mark.parametrize("way", ["bootnext", "kexec"])
@pytest.mark.parametrize("answer", [Answer.OURS, Answer.STRANGER, Answer.SILENT])
def test_an_old_system_that_is_still_there_takes_it_back(rescue: Rescue, way: str, answer: Answer) -> None:
    """The rescue did not come. At its address may be another, which is told nothing."""
    ssh = Ssh(answers=answer)
    sent: list[int] = []

    def go() -> None:
        with way_called(way).serving(start_of(ssh, rescue)):
            sent.append(len(ssh.words))
            raise ProvisionError("did not come")

    with pytest.raises(ProvisionError, match="did not come"):
        go()
    last = [words[4:] for words in ssh.words[sent[0] :]]
    undo = (bootnext.staging("clear") if way == "bootnext" else ["python3", "-I", "-c", kexec.LOAD.read_text()])[3:]
    assert last == ([tuple(undo)] if answer is Answer.OURS else [])


@pytest.mark.parametrize("way", ["bootnext", "kexec"])
def test_a_key_for_one_start_is_all_that_the_old_system_gets(rescue: Rescue, way: str) -> None:
    shown = set()
    for _ in range(2):
        ssh = Ssh()
        with way_called(way).serving(start_of(ssh, rescue)) as served:
            shown.add(served.host_key())
        assert b"-----BEGIN OPENSSH PRIVATE KEY-----" in ssh.input
        assert b"ssh-ed25519 AAAAcontroller" in ssh.input
        assert b"private key: " not in ssh.input
        # Whoever lists the processes of the old system sees none at all.
        assert "PRIVATE KEY" not in str(ssh.words)
    assert len(shown) == 2


def test_nothing_is_taken_back_from_a_rescue_that_came(rescue: Rescue) -> None:
    ssh = Ssh()
    with way_called("bootnext").serving(start_of(ssh, rescue)) as served:
        sent = len(ssh.words)
        shown = served.host_key()
    assert len(ssh.words) == sent
    assert shown is not None
    assert shown.encode() in unpacked(ssh.input)["EFI/hlp-rescue/site.img"]


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
    older = machine.model_copy(update={"passport": machine.passport.model_copy(update={"firmware": Firmware.BIOS})})
    assert "its firmware is bios" in str(way_called("bootnext").objection(older, True))
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
