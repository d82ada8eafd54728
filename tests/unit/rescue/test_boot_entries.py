"""What the firmware lists, and the one entry of ours that is made in it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

# As efibootmgr 18 prints it: a vendor's name that is not ASCII, inactive entries, a label without a path.
LISTED = """\
BootCurrent: 0004
Timeout: 1 seconds
BootOrder: 0004,0001,000A,0000
BootNext: 0001
MirroredPercentageAbove4G: 0.00
MirrorMemoryBelow4GB: false
Boot0000* Windows Boot Manager\tHD(1,GPT,a5f1…)/\\EFI\\Microsoft\\Boot\\bootmgfw.efi57494e444f5753000100000088000000
Boot0001* homelab\tHD(1,GPT,6f0f5f9e-0001-4c0f-8d67-000000000001,0x800,0x80000)/\\EFI\\BOOT\\BOOTX64.EFI
Boot0002  Onboard NIC (IPV4)\tPciRoot(0x0)/Pci(0x13,0x1)/MAC(00005e0053d4,0)/IPv4(0.0.0.0,0,DHCP)
Boot0004* UEFI: Généric Flash-Disk « 8 Go », Partition 1\tPciRoot(0x0)/Pci(0x15,0x0)/USB(3,0)
Boot000A* homelab backup
Boot000B  homelab
"""


class Firmware:
    """efibootmgr on a box whose boot entries can be written, until `refuses` names a word of a call."""

    def __init__(self, give_up: type[Exception]) -> None:
        self.calls: list[str] = []
        self.listed = LISTED
        self.refuses: str | None = None
        self._give_up = give_up

    def command(self, *argv: str, stdin: bytes | None = None) -> str:
        assert argv[0] == "efibootmgr"
        self.calls.append(" ".join(argv[1:]))
        if self.refuses in argv:
            raise self._give_up("efibootmgr: No space left on device")
        for number in argv[3:4] if "--delete-bootnum" in argv else ():
            self.listed = "".join(line for line in self.listed.splitlines(True) if line[4:8] != number)
        if "--create" in argv:
            self.listed += "Boot000C* homelab\tHD(1,GPT,…)/\\EFI\\BOOT\\BOOTX64.EFI\n"
        return self.listed if argv == ("efibootmgr",) else ""


@pytest.fixture
def firmware(module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Firmware:
    found = Firmware(module.GiveUp)
    monkeypatch.setattr(module, "command", found.command)
    monkeypatch.setattr(module, "EFIVARS", tmp_path)
    (tmp_path / "Boot0000-8be4df61-93ca-11d2-aa0d-00e098032b8c").touch()
    return found


PLAN = {"boot_label": "homelab", "stale_labels": ["a rescue"], "disk": "/dev/sda"}


@pytest.mark.usefixtures("firmware")
def test_entries_are_read_with_number_and_label_active_or_not(module: ModuleType) -> None:
    assert module.entries() == [
        ("0000", "Windows Boot Manager"),
        ("0001", "homelab"),
        ("0002", "Onboard NIC (IPV4)"),
        ("0004", "UEFI: Généric Flash-Disk « 8 Go », Partition 1"),
        ("000A", "homelab backup"),
        ("000B", "homelab"),
    ]


def test_old_entries_of_ours_go_and_the_new_one_is_chosen_for_the_next_start(
    module: ModuleType, firmware: Firmware
) -> None:
    assert module.boot_entry(PLAN) == "000C"
    deleted = [call.split()[2] for call in firmware.calls if "--delete-bootnum" in call]
    assert deleted == ["0001", "000B"]  # not the one whose label only begins like ours
    (made,) = [call for call in firmware.calls if "--create" in call]
    assert "--disk /dev/sda --part 1" in made
    assert "--loader \\EFI\\BOOT\\BOOTX64.EFI" in made
    assert firmware.calls[-1] == "--quiet --bootnext 000C"


def test_what_started_from_the_old_disk_goes_with_it(module: ModuleType, firmware: Firmware) -> None:
    module.boot_entry({**PLAN, "stale_labels": ["homelab backup"]})
    deleted = [call.split()[2] for call in firmware.calls if "--delete-bootnum" in call]
    assert deleted == ["0001", "000A", "000B"]


def test_a_firmware_that_takes_no_entry_is_a_warning(
    module: ModuleType, firmware: Firmware, capsys: pytest.CaptureFixture[str]
) -> None:
    firmware.refuses = "--create"
    assert module.boot_entry(PLAN) is None
    assert "No space left" in json.loads(capsys.readouterr().out)["warning"]


def test_without_boot_variables_the_firmware_is_left_alone(
    module: ModuleType, firmware: Firmware, tmp_path: Path
) -> None:
    next(tmp_path.glob("Boot*")).unlink()
    assert module.boot_entry(PLAN) is None
    assert firmware.calls == []
