"""The shape of a machine, read from a tree of files."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.machine.inspection import Inspection
from homelab_provision.rescue import inspection
from homelab_provision.rescue.inspection import EFI_GLOBAL, collect, load_option
from tests.unit.rescue.computer import MMC, SATA, USB, Computer

NIC = "pci0000:00/0000:00:13.0/0000:01:00.0"
# Device paths (UEFI specification, 10.3): a network card's MAC, IPv4, a URI without text, the end.
MAC = bytes([3, 11, 37, 0]) + bytes(33)
IPV4 = bytes([3, 12, 27, 0]) + bytes(23)
URI = bytes([3, 24, 4, 0])
DISK = bytes([4, 1, 42, 0]) + bytes(38)
END = bytes([0x7F, 0xFF, 4, 0])


def option(label: str, *paths: bytes, active: bool = True) -> bytes:
    """A `Boot####` variable as efivarfs shows it."""
    joined = b"".join((*paths, END))
    return struct.pack("<IIH", 7, active, len(joined)) + label.encode("utf-16-le") + b"\0\0" + joined


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    monkeypatch.setattr("homelab_provision.rescue.inspection.shutil.which", lambda name: None)
    return Computer(tmp_path)


def card(computer: Computer, name: str, at: str = NIC, **files: str) -> None:
    for file, text in files.items():
        computer.put(f"sys/devices/{at}/net/{name}/{file}", text)
    place = computer.root / f"sys/devices/{at}/net/{name}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "device").symlink_to(computer.root / "sys/devices" / at)
    (computer.root / "sys/class/net" / name).symlink_to(place)


def test_the_whole_answer_is_understood(computer: Computer) -> None:
    computer.disk("sda", SATA)
    computer.disk("mmcblk0", MMC, life_time="0x01 0x02\n", pre_eol_info="0x01\n")
    computer.disk("mmcblk0boot0", MMC)
    computer.disk("sdb", USB)
    computer.put(f"sys/devices/{NIC}/power/wakeup", "disabled\n")
    card(computer, "enp1s0", carrier="1\n", speed="1000\n")
    computer.put(f"sys/firmware/efi/efivars/Boot0001-{EFI_GLOBAL}", option("debian", DISK))
    computer.put(f"sys/firmware/efi/efivars/BootOrder-{EFI_GLOBAL}", b"\x07\0\0\0\x01\0")
    computer.put("sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n")
    computer.put("proc/sys/kernel/kexec_load_disabled", "0\n")
    computer.put("sys/class/tpm/tpm0/tpm_version_major", "2\n")
    told = json.loads(json.dumps(collect(computer.root)))
    assert Inspection.model_validate(told).model_dump(mode="json") == told
    assert told == {
        "disks": {
            "mmcblk0": {"smartctl": None, "problem": None, "life_time": "0x01 0x02", "pre_eol_info": "0x01"},
            "sda": {
                "smartctl": None,
                "problem": "there is no smartctl in this rescue system",
                "life_time": None,
                "pre_eol_info": None,
            },
        },
        "nics": {
            "enp1s0": {"usb": False, "wireless": False, "carrier": True, "speed_mbit": 1000, "wakeup": "disabled"}
        },
        "boot_entries": [{"number": "0001", "label": "debian", "active": True, "network": None}],
        "watchdogs": ["iTCO_wdt"],
        "kexec": True,
        "tpm": "2",
    }


def test_a_bare_machine(computer: Computer) -> None:
    assert Inspection.model_validate(collect(computer.root)) == Inspection()


def test_network_cards(computer: Computer) -> None:
    card(computer, "enx0", "pci0000:00/0000:00:15.0/usb1/1-4/1-4:1.0", carrier="0\n", speed="-1\n")
    card(computer, "wlp2", "pci0000:00/0000:00:14.0", carrier="")
    (computer.root / "sys/class/net/wlp2/phy80211").mkdir()
    (computer.root / "sys/class/net/lo").mkdir()
    nics = collect(computer.root)["nics"]
    assert nics["enx0"] == {"usb": True, "wireless": False, "carrier": False, "speed_mbit": None, "wakeup": None}
    assert (nics["wlp2"]["wireless"], nics["wlp2"]["carrier"]) == (True, None)
    assert "lo" not in nics


@pytest.mark.parametrize(
    ("paths", "network"),
    [((DISK,), None), ((MAC, IPV4), "pxe"), ((MAC, IPV4, URI), "http"), ((MAC,), "pxe"), ((), None)],
)
def test_what_a_boot_entry_starts_from(paths: tuple[bytes, ...], network: str | None) -> None:
    assert load_option(option("Onboard NIC", *paths, active=False)) == {
        "label": "Onboard NIC",
        "active": False,
        "network": network,
    }


@pytest.mark.negative
@pytest.mark.parametrize("data", [b"", bytes(11), option("x", MAC)[:20], bytes(12) + b"\x41"])
def test_a_torn_boot_entry_ends(data: bytes) -> None:
    entry = load_option(data)
    assert entry is None or entry["network"] is None


class Smartctl:
    """In the place of the program."""

    def __init__(self, said: bytes | Exception) -> None:
        self.said, self.asked = said, [""]

    def __call__(self, argv: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        self.asked.append(argv[-1])
        if isinstance(self.said, Exception):
            raise self.said
        return subprocess.CompletedProcess(argv, 216, self.said, b"")


@pytest.mark.parametrize(
    ("said", "result"),
    [
        (b'{"smart_status": {"passed": false}}', ({"smart_status": {"passed": False}}, None)),
        (b"smartctl: not found", (None, "smartctl could not be understood")),
        (b"[]", (None, "smartctl could not be understood")),
        (subprocess.TimeoutExpired("smartctl", 30), (None, "the disk did not answer smartctl within 30 s")),
    ],
)
def test_smartctl(monkeypatch: pytest.MonkeyPatch, said: bytes | Exception, result: object) -> None:
    program = Smartctl(said)
    monkeypatch.setattr("homelab_provision.rescue.inspection.shutil.which", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr("homelab_provision.rescue.inspection.subprocess.run", program)
    assert inspection.smart("/dev/sda") == result
    assert program.asked[-1] == "/dev/sda"


def test_it_runs_by_itself_from_standard_input() -> None:
    """As the rescue gets it: nothing of ours lies beside it."""
    names = {node for node in Path(inspection.__file__).read_text().splitlines() if "import homelab" in node}
    assert names == set()
