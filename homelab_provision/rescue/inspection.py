"""What shape is this machine in? Runs in the rescue system (`ssh rescue python3 - < inspection.py`), prints JSON.

`facts.py` says what a rebuild has to know; this says what somebody wants to see who takes a machine into service: how
its disks are, which network cards are built in, and what its firmware and its kernel offer. Standard library only.
Nothing is written.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

SMARTCTL = ("smartctl", "--json", "--info", "--health", "--attributes")
PATIENCE = 30.0  # seconds that a disk may take to answer; a broken one does not end
DISK_BUSES = ("sd", "nvme", "mmcblk", "vd")
EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # EFI_GLOBAL_VARIABLE of the UEFI specification


def read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def number(path: Path) -> int | None:
    text = read(path)
    return int(text) if text and text.lstrip("-").isdigit() else None


def smart(node: str) -> tuple[dict[str, Any] | None, str | None]:
    """What smartctl says of a disk, or why it says nothing."""
    if shutil.which(SMARTCTL[0]) is None:
        return None, "there is no smartctl in this rescue system"
    try:
        done = subprocess.run([*SMARTCTL, node], capture_output=True, timeout=PATIENCE, check=False)
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return None, f"the disk did not answer smartctl within {PATIENCE:.0f} s"
    except (OSError, ValueError):
        return None, "smartctl could not be understood"
    return (said, None) if isinstance(said, dict) else (None, "smartctl could not be understood")


def disk(block: Path) -> dict[str, Any]:
    """An eMMC knows no SMART: it says in the kernel's words how worn it is."""
    worn = {name: read(block / "device" / name) for name in ("life_time", "pre_eol_info")}
    if any(worn.values()):
        return {"smartctl": None, "problem": None, **worn}
    said, problem = smart(f"/dev/{block.name}")
    return {"smartctl": said, "problem": problem, **worn}


def is_disk(block: Path) -> bool:
    """A whole disk, no hardware partition of an eMMC, not behind USB (whose bridges may hang when they are asked)."""
    device = str(block.resolve())
    named = block.name.startswith(DISK_BUSES) and not any(part in block.name for part in ("boot", "rpmb", "gp"))
    return named and "/usb" not in device and (read(block / "size") or "0") != "0"


def nic(folder: Path) -> dict[str, Any]:
    """`wakeup`: whether the kernel has it armed to wake the machine."""
    speed = number(folder / "speed")  # an error while there is no cable, -1 for some drivers
    return {
        "usb": "/usb" in str((folder / "device").resolve()),
        "wireless": (folder / "wireless").exists() or (folder / "phy80211").exists(),
        "carrier": {"1": True, "0": False}.get(read(folder / "carrier") or ""),
        "speed_mbit": speed if speed and speed > 0 else None,
        "wakeup": read(folder / "device/power/wakeup"),
    }


def load_option(data: bytes) -> dict[str, Any] | None:
    """A `Boot####` variable (UEFI specification, 3.1.3): attributes of four bytes, how long the paths are, the
    description in UTF-16 up to a zero, then the device paths: type, subtype, length of four bytes and more."""
    data = data[4:]  # efivarfs puts the variable's attributes in front
    if len(data) < 8:
        return None
    active, text, at = bool(data[0] & 1), data[6:], 0
    while at + 1 < len(text) and text[at : at + 2] != b"\0\0":
        at += 2
    paths, kinds = text[at + 2 :][: int.from_bytes(data[4:6], "little")], []
    while 4 <= (length := int.from_bytes(paths[2:4], "little")) <= len(paths):
        kinds.append((paths[0], paths[1]))
        paths = paths[length:]
    # Messaging device paths (type 3): MAC address 11, IPv4 12, IPv6 13, URI 24 (UEFI specification, 10.3.4).
    network = next(
        (kind for kind, sub in (("http", 24), ("pxe", 12), ("pxe", 13), ("pxe", 11)) if (3, sub) in kinds), None
    )
    return {"label": text[:at].decode("utf-16-le", errors="replace"), "active": active, "network": network}


def boot_entries(variables: Path) -> list[dict[str, Any]]:
    """What the firmware offers to start from, with its number as `efibootmgr` shows it."""
    found = []
    for path in sorted(variables.glob(f"Boot[0-9A-F][0-9A-F][0-9A-F][0-9A-F]-{EFI_GLOBAL}")):
        try:
            entry = load_option(path.read_bytes())
        except OSError:
            continue
        if entry:
            found.append({"number": path.name[4:8], **entry})
    return found


def watchdogs(folder: Path) -> list[str]:
    """What the watchdogs call themselves."""
    return [read(each / "identity") or each.name for each in sorted(folder.glob("watchdog*"))]


def collect(root: Path = Path("/")) -> dict[str, Any]:
    """Everything about this machine; `root` is for tests."""
    system, proc = root / "sys", root / "proc"
    cards = [each for each in sorted((system / "class/net").glob("*")) if (each / "device").exists()]
    return {
        "disks": {block.name: disk(block) for block in sorted((system / "block").glob("*")) if is_disk(block)},
        "nics": {card.name: nic(card) for card in cards},
        "boot_entries": boot_entries(system / "firmware/efi/efivars"),
        "watchdogs": watchdogs(system / "class/watchdog"),
        "kexec": {"0": True, "1": False}.get(read(proc / "sys/kernel/kexec_load_disabled") or ""),
        "tpm": read(system / "class/tpm/tpm0/tpm_version_major"),
    }


if __name__ == "__main__":
    print(json.dumps(collect()))
