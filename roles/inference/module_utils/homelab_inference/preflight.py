"""Whether this host can serve models as the role is told to: gates, each with what was seen, expected, and to be done.

`refused` means that it would fail or, worse, answer wrongly; `warned` that somebody should know.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from . import hardware as host
from . import memory
from .anchors import Backend
from .errors import Trouble
from .hardware import Card, Hardware
from .known import (
    BUILDS_SOURCE,
    DKMS_PACKAGES,
    DKMS_SOURCE,
    FIRMWARE_DENIED,
    FIRMWARE_PACKAGES,
    GFX_TARGET,
    HSA_SOURCE,
    KERNEL_SOURCE,
    LOCKUP_SOURCE,
    MES_DENIED,
    NOT_GPUS,
    STRIX_HALO,
    THIN_CLIENT_GPUS,
    THIN_CLIENT_SOURCE,
    UMA_SOURCE,
)
from .quantities import GIB, MIB
from .wanted import Wanted, settings

PACKAGES = (*FIRMWARE_PACKAGES, *DKMS_PACKAGES)
DOCUMENT = "etc/homelab-provision/inference.json"


class Level(StrEnum):
    REFUSED = "refused"
    WARNED = "warned"


@dataclass(frozen=True)
class Finding:
    """What a gate has found: of the host, never of the role's variables alone."""

    gate: str
    level: Level
    seen: str
    expected: str
    mend: str
    source: str = ""

    @property
    def text(self) -> str:
        lines = [f"{self.level} {self.gate}: {self.seen}", f"  expected: {self.expected}", f"  to mend it: {self.mend}"]
        return "\n".join([*lines, f"  source: {self.source}"] if self.source else lines)


def look(seen: Hardware, wanted: Wanted) -> list[Finding]:
    """Everything that is wrong, what has to be mended first before the rest. Empty: nothing is."""
    if wanted.backend is Backend.CPU:
        return list(_processor(seen))
    unfit = list(_gpu(seen, wanted))
    if any(finding.level is Level.REFUSED for finding in unfit):
        return unfit  # Of a host without a GPU, nothing else matters.
    carved = list(_carve_out(seen, wanted))
    return [
        *unfit,
        *carved,
        *_kernel(seen, wanted),
        *_firmware(seen, wanted),
        *_dkms(seen, wanted),
        *_build(wanted),
        *_override(seen, wanted),
        # A carve-out that has to change changes what can be planned.
        *(() if carved else _arguments(seen, wanted)),
    ]


def _processor(seen: Hardware) -> Iterator[Finding]:
    if seen.cpu_flags and "avx2" not in seen.cpu_flags:
        yield Finding(
            "cpu",
            Level.WARNED,
            f"{seen.cpu or 'this CPU'} has no AVX2",
            "a CPU with AVX2 for models of more than about a billion parameters",
            "declare small models only here, or serve them from another host",
        )


def _gpu(seen: Hardware, wanted: Wanted) -> Iterator[Finding]:
    cards = [card for card in seen.cards if card.pci not in NOT_GPUS]
    expected = "an AMD GPU with the driver amdgpu, as of a Ryzen AI Max"
    by_cpu = "inference_backend: cpu serves small models with the CPU"
    if wanted.accept_software_renderer:
        return
    if not cards:
        shown = "; ".join(f"{card.name} is {NOT_GPUS[card.pci]}" for card in seen.cards)
        yield Finding(
            "gpu",
            Level.REFUSED,
            f"no GPU: {shown or 'the kernel shows no graphics card (/sys/class/drm)'}",
            expected,
            "if there is one: is it switched on in the BIOS, and does `dmesg | grep amdgpu` show why it has no driver? "
            f"If there is none: {by_cpu}",
        )
    elif _thin_client(seen, cards[0]) or not any(card.driver == "amdgpu" for card in cards):
        yield _unfit(seen, cards[0], expected, by_cpu)
    elif wanted.backend is Backend.ROCM and seen.gfx_targets and GFX_TARGET not in seen.gfx_targets:
        yield Finding(
            "gpu",
            Level.WARNED,
            f"a GPU whose target is {', '.join(map(str, seen.gfx_targets))}",
            f"{GFX_TARGET} (gfx1151), the one that this role's packages are for",
            "choose the packages of ROCm for this GPU yourself, or inference_backend: vulkan",
        )


def _thin_client(seen: Hardware, card: Card) -> bool:
    return card.pci in THIN_CLIENT_GPUS or "wyse" in f"{seen.product} {seen.family}".lower()


def _unfit(seen: Hardware, card: Card, expected: str, by_cpu: str) -> Finding:
    if _thin_client(seen, card):
        return Finding(
            "gpu",
            Level.REFUSED,
            f"{seen.product or 'this host'} has the GPU of a thin client: "
            f"{THIN_CLIENT_GPUS.get(card.pci, 'integrated')}, {card.pci}, driver {card.driver or 'none'}",
            f"{expected}; this one is slower than the CPU beside it",
            by_cpu,
            THIN_CLIENT_SOURCE,
        )
    return Finding(
        "gpu",
        Level.REFUSED,
        f"{card.name} is {card.pci or 'unknown'} with the driver {card.driver or 'none'}",
        expected,
        "for a GPU of AMD: install its firmware (firmware-amd-graphics), start the host again, and look at "
        f"`dmesg | grep amdgpu`. For another GPU this role has no packages: {by_cpu}",
    )


def _carve_out(seen: Hardware, wanted: Wanted) -> Iterator[Finding]:
    for card in seen.cards:
        if card.pci in STRIX_HALO and (card.vram_total or 0) > wanted.uma_max_mib * MIB:
            yield Finding(
                "carve-out",
                Level.REFUSED,
                f"the BIOS keeps {(card.vram_total or 0) / GIB:.1f} GiB for the GPU; "
                f"the system has {seen.memory / GIB:.1f} GiB",
                f"at most {wanted.uma_max_mib / 1024:.1f} GiB, better 0.5: the GPU takes what it needs from the rest",
                "in the BIOS setup, set the integrated GPU's memory (UMA frame buffer) to its minimum, and start again",
                UMA_SOURCE,
            )


def _kernel(seen: Hardware, wanted: Wanted) -> Iterator[Finding]:
    kind = "debian" if seen.distribution != "ubuntu" else "ubuntu-oem" if seen.kernel.endswith("-oem") else "ubuntu"
    least = wanted.min_kernel[kind]
    if _numbers(seen.kernel) >= _numbers(least):
        return
    hard = wanted.backend is Backend.ROCM
    ways = {
        "debian": "on Debian 13 take kernel and firmware from backports, start again",
        "ubuntu": "install linux-generic-hwe-24.04 in its newest version, start again",
        "ubuntu-oem": "install linux-oem-24.04 in its newest version, start again",
    }
    yield Finding(
        "kernel",
        Level.REFUSED if hard else Level.WARNED,
        f"Linux {seen.kernel or 'of an unknown version'} on {seen.distribution or 'an unknown distribution'}",
        f"{least} or newer{': ROCm crashes on older ones' if hard else '; Vulkan goes with older ones, less tested'}",
        ways[kind] + ("; or inference_backend: vulkan, which goes with this kernel" if hard else ""),
        KERNEL_SOURCE,
    )


def _numbers(version: str) -> tuple[int, ...]:
    """What is compared of a kernel's version: 6.17.0-19.19~24.04.2 is (6, 17, 0, 19), as `uname -r` has it."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(?:-(\d+))?", version)
    return tuple(int(number or 0) for number in found.groups() if number is not None) if found else ()


def _firmware(seen: Hardware, wanted: Wanted) -> Iterator[Finding]:
    why = {each.what: each for each in (*FIRMWARE_DENIED, *MES_DENIED)}
    newer = "install a newer one (Debian 13: from backports), run update-initramfs -u, start again"
    for name in FIRMWARE_PACKAGES:
        version = seen.packages.get(name, "")
        for denied in wanted.firmware_deny:
            if denied in version:
                known = why.get(denied)
                yield Finding(
                    "firmware",
                    Level.REFUSED,
                    f"{name} {version}" + (f": {known.why}" if known else ""),
                    f"any other version than {denied}",
                    newer,
                    known.source if known else "",
                )
    mes = seen.firmware.get("MES")
    for denied in wanted.mes_deny:
        if mes is not None and mes == int(denied, 16):
            known = why.get(denied)
            yield Finding(
                "firmware",
                Level.REFUSED,
                f"the GPU runs MES {mes:#x}" + (f": {known.why}" if known else ""),
                f"any other than {denied}",
                f"{newer}. If it stays: `apt purge {' '.join(DKMS_PACKAGES)}`, whose files come before the right ones",
                known.source if known else "",
            )
    if mes is None and any(card.pci in STRIX_HALO for card in seen.cards):
        yield Finding(
            "firmware",
            Level.WARNED,
            "which firmware the GPU runs could not be read (/sys/kernel/debug/dri/*/amdgpu_firmware_info)",
            f"to see that it is not MES {' or '.join(wanted.mes_deny)}",
            "run this as root, with debugfs mounted: mount -t debugfs none /sys/kernel/debug",
        )


def _dkms(seen: Hardware, wanted: Wanted) -> Iterator[Finding]:
    present = [name for name in DKMS_PACKAGES if name in seen.packages]
    if present:
        yield Finding(
            "amdgpu-dkms",
            Level.REFUSED if wanted.backend is Backend.ROCM else Level.WARNED,
            f"{' and '.join(present)} installed",
            "the kernel's own driver and the distribution's firmware, as AMD says for Ryzen",
            f"apt purge {' '.join(present)}, update-initramfs -u, start again",
            DKMS_SOURCE,
        )


def _build(wanted: Wanted) -> Iterator[Finding]:
    for first, last in wanted.deny_builds_rocm if wanted.backend is Backend.ROCM else ():
        if first <= wanted.build <= last:
            yield Finding(
                "build",
                Level.REFUSED,
                f"llama.cpp b{wanted.build} computes wrongly with ROCm, without a word",
                f"a build before b{first} or after b{last}",
                f"set inference_build to one after b{last}; or inference_backend: vulkan, which is not affected",
                BUILDS_SOURCE,
            )


def _override(seen: Hardware, wanted: Wanted) -> Iterator[Finding]:
    if seen.overrides:
        yield Finding(
            "override",
            Level.REFUSED if wanted.backend is Backend.ROCM else Level.WARNED,
            f"{host.HSA} is set in {', '.join(seen.overrides)}",
            "that it is set nowhere: ROCm knows this GPU by itself",
            "remove it there, and log in again",
            HSA_SOURCE,
        )


def plan(seen: Hardware, wanted: Wanted) -> memory.Plan | None:
    """How this host's kernel is to be started, if that is for this role to say: a container's is another's."""
    own = wanted.backend is not Backend.CPU and not seen.container
    if not own or not any(card.pci in STRIX_HALO for card in seen.cards):
        return None
    return memory.plan(seen.memory, wanted.gtt_gib, wanted.iommu_off)


def _arguments(seen: Hardware, wanted: Wanted) -> Iterator[Finding]:
    try:
        planned = plan(seen, wanted)
    except Trouble as trouble:
        yield Finding("memory", Level.REFUSED, trouble.message, "room for a model and the system", trouble.hint or "")
        return
    differ = memory.differences(planned, seen) if planned else []
    surplus = " and ".join(each.surplus for each in differ if each.surplus)
    expected = [each.expected for each in differ if each.expected]
    away = f"take {surplus} out of /etc/default/grub and run update-grub; then " if surplus else ""
    if planned and differ:
        yield Finding(
            "arguments",
            Level.WARNED,
            f"the kernel runs with other arguments: {'; '.join(each.seen for each in differ)}",
            "; ".join([f"{planned.gtt_gib} GiB for the GPU, {planned.pages} pages", *expected]),
            f"the role writes them for the next start: {away}start the host again (inference_reboot: true does it)",
            LOCKUP_SOURCE,
        )


def preflight(argv: Sequence[str]) -> int:
    """The command: 0 when nothing is refused, 1 when something is, 2 when it is asked wrongly."""
    parser = argparse.ArgumentParser(
        prog="homelab-inference preflight", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "--settings",
        type=Path,
        help="a file of the role's variables in JSON; - is standard input; default: the host's",
    )
    parser.add_argument(
        "--backend", choices=[each.value for each in Backend], help="default: what the settings say, or vulkan"
    )
    parser.add_argument("--build", help="llama.cpp's, as in b11669")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="where /proc, /sys and /etc are (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="say it as JSON, for programs")
    words = parser.parse_args(argv)
    try:
        text = _told(words.settings, words.root / DOCUMENT)
        given = {name: value for name in ("backend", "build") if (value := getattr(words, name))}
        asked = settings(text)
        wanted = settings(json.dumps({**_plain(asked), **given}))
    except (Trouble, OSError) as error:
        said = error.with_hint if isinstance(error, Trouble) else error
        print(f"homelab-inference preflight: {said}", file=sys.stderr)
        return 2
    environment = os.environ if words.root == Path("/") else {}
    seen = host.read(words.root, PACKAGES, environment)
    found = look(seen, wanted)
    if words.json:
        print(json.dumps({"findings": [asdict(finding) for finding in found], "hardware": _shown(seen)}, indent=2))
    else:
        print("\n".join(finding.text for finding in found) or f"nothing is in the way of {wanted.backend} here")
    return int(any(finding.level is Level.REFUSED for finding in found))


def _told(settings: Path | None, document: Path) -> str:
    """What is asked for, or else what the role has told this host."""
    if settings:
        return sys.stdin.read() if str(settings) == "-" else settings.read_text()
    return json.dumps(json.loads(document.read_text()).get("preflight") or {}) if document.exists() else "{}"


def _plain(wanted: Wanted) -> dict[str, Any]:
    return {each.name: value for each in fields(wanted) if (value := getattr(wanted, each.name)) is not None}


def _shown(seen: Hardware) -> dict[str, Any]:
    return {**asdict(seen), "cpu_flags": sorted(seen.cpu_flags)}


if __name__ == "__main__":
    sys.exit(preflight(sys.argv[1:]))
