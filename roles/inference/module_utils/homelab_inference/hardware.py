"""What a host is, read from /proc and /sys below a directory, which a test has somewhere else.

What cannot be read is None, or missing: on one host there is no GPU, on another the kernel is too old to say something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MOST = 4 * 1024**2  # of a file; only dpkg's list is as large
HSA = "HSA_OVERRIDE_GFX_VERSION"
# Where a variable for all programs, or for one service, may have been set.
ENVIRONMENTS = (
    "etc/environment",
    "etc/environment.d/*",
    "etc/profile",
    "etc/profile.d/*",
    "etc/default/*",
    "etc/security/pam_env.conf",
    "etc/systemd/system.conf",
    "etc/systemd/system.conf.d/*",
    "etc/systemd/system/*.service",
    "etc/systemd/system/*.service.d/*",
    "etc/bash.bashrc",
    "root/.bashrc",
    "root/.profile",
    "home/*/.bashrc",
    "home/*/.profile",
)


@dataclass(frozen=True)
class Card:
    """A graphics card: its name below /sys/class/drm, its PCI identifier (`1002:1586`), its driver; memory in bytes."""

    name: str
    pci: str
    driver: str
    vram_total: int | None = None
    vram_used: int | None = None
    gtt_total: int | None = None
    gtt_used: int | None = None
    busy_percent: int | None = None


@dataclass(frozen=True)
class Hardware:
    """A host. Memory is in bytes; `firmware` is what runs in the GPU (`MES`: 0x83), `packages` what is installed."""

    vendor: str
    product: str
    family: str
    bios_version: str
    bios_date: str
    cpu: str
    cpu_flags: frozenset[str]
    memory: int
    kernel: str
    distribution: str
    command_line: tuple[str, ...]
    cards: tuple[Card, ...] = ()
    gfx_targets: tuple[int, ...] = ()
    firmware: Mapping[str, int] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    pages_limit: int | None = None
    overrides: tuple[str, ...] = ()
    container: bool = False


def read(root: Path, packages: tuple[str, ...] = (), environment: Mapping[str, str] | None = None) -> Hardware:
    """The host whose files are below `root`, with the versions of these packages, and the program's environment."""
    release = _release(root)
    cpu = _text(root / "proc/cpuinfo")
    return Hardware(
        vendor=_dmi(root, "sys_vendor"),
        product=_dmi(root, "product_name"),
        family=_dmi(root, "product_family"),
        bios_version=_dmi(root, "bios_version"),
        bios_date=_dmi(root, "bios_date"),
        cpu=_after(cpu, r"model name"),
        cpu_flags=frozenset(_after(cpu, r"flags").split()),
        memory=1024 * int(_after(_text(root / "proc/meminfo"), "MemTotal").removesuffix("kB").strip() or 0),
        kernel=_text(root / "proc/sys/kernel/osrelease").strip(),
        distribution=release.get("ID", ""),
        command_line=tuple(_text(root / "proc/cmdline").split()),
        cards=tuple(_cards(root)),
        gfx_targets=tuple(_gfx_targets(root)),
        firmware=_firmware(root),
        packages={name: version for name, version in _installed(root) if name in packages},
        pages_limit=_number(root / "sys/module/ttm/parameters/pages_limit"),
        overrides=tuple(_overrides(root, environment or {})),
        container=(root / "run/systemd/container").exists(),
    )


def gpu_memory_used(root: Path = Path("/")) -> int:
    """Bytes that graphics cards have in use, of their own memory and of the system's. A driver may not tell it."""
    return sum((card.vram_used or 0) + (card.gtt_used or 0) for card in _cards(root))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MOST).decode(errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if re.fullmatch(r"\d{1,20}", text) else None


def _after(text: str, key: str) -> str:
    found = re.search(rf"^{key}\s*:[ \t]*(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _dmi(root: Path, name: str) -> str:
    return _text(root / "sys/class/dmi/id" / name).strip()


def _release(root: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in _text(root / "etc/os-release").splitlines())
    return {key: value.strip("\"'") for key, _, value in lines}


def _cards(root: Path) -> Iterator[Card]:
    found = (path for path in (root / "sys/class/drm").glob("card*") if re.fullmatch(r"card\d+", path.name))
    for path in sorted(found, key=lambda path: int(path.name[4:])):
        device = path / "device"
        says = dict(line.partition("=")[::2] for line in _text(device / "uevent").splitlines())
        pci = f"{_hexadecimal(device / 'vendor')}:{_hexadecimal(device / 'device')}"
        yield Card(
            path.name,
            pci if pci != ":" else says.get("PCI_ID", "").lower(),
            says.get("DRIVER", ""),
            _number(device / "mem_info_vram_total"),
            _number(device / "mem_info_vram_used"),
            _number(device / "mem_info_gtt_total"),
            _number(device / "mem_info_gtt_used"),
            _number(device / "gpu_busy_percent"),
        )


def _hexadecimal(path: Path) -> str:
    return _text(path).strip().removeprefix("0x").lower()


def _gfx_targets(root: Path) -> Iterator[int]:
    """110501 is gfx1151. CPUs are nodes, too, and have 0."""
    for path in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")):
        found = re.search(r"^gfx_target_version (\d+)$", _text(path), re.MULTILINE)
        if found and int(found[1]):
            yield int(found[1])


def _firmware(root: Path) -> dict[str, int]:
    """The parts of the GPU and the versions of their microcode, as amdgpu tells root."""
    for path in sorted((root / "sys/kernel/debug/dri").glob("*/amdgpu_firmware_info")):
        lines = re.findall(r"^(\w+) feature version: .*?firmware version: (0x[0-9a-f]+)", _text(path), re.MULTILINE)
        if lines:
            return {part: int(version, 16) for part, version in lines}
    return {}


def _installed(root: Path) -> Iterator[tuple[str, str]]:
    try:
        with (root / "var/lib/dpkg/status").open(encoding="utf-8", errors="replace") as file:
            stanza: dict[str, str] = {}
            for line in (*file, "\n"):
                if line.strip():
                    key, _, value = line.partition(":")
                    stanza.setdefault(key, value.strip())
                    continue
                if stanza.get("Status", "").endswith(" installed"):
                    yield stanza["Package"], stanza.get("Version", "")
                stanza = {}
    except OSError:
        return


def _overrides(root: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Where somebody has told ROCm to take this GPU for another."""
    if HSA in environment:
        yield f"the environment of this program ({environment[HSA]})"
    for pattern in ENVIRONMENTS:
        for path in sorted(root.glob(pattern)):
            if path.is_file() and re.search(rf"^[^#\n]*\b{HSA}\b", _text(path), re.MULTILINE):
                yield f"/{path.relative_to(root)}"
