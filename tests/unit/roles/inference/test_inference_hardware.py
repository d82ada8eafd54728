"""What is read of a host, whole or in part, and the memory that its GPU is planned to have."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.inference import parts
from tests.unit.roles.inference.parts import GIB

hardware = parts.part("hardware")
memory = parts.part("memory")
Trouble = parts.part("errors").Trouble


def test_a_whole_host(tmp_path: Path) -> None:
    packages = ("firmware-amd-graphics", "amdgpu-dkms", "linux-firmware")
    found = hardware.read(parts.host("framework-desktop", tmp_path), packages)
    assert (found.vendor, found.product) == ("Framework", "Desktop (AMD Ryzen AI Max 300 Series)")
    assert (found.bios_version, found.bios_date) == ("03.02", "07/22/2025")
    assert found.cpu == "AMD RYZEN AI MAX+ 395 w/ Radeon 8060S"
    assert {"avx2", "avx512_bf16"} <= found.cpu_flags
    assert found.memory == 131045116 * 1024
    assert (found.kernel, found.distribution) == ("7.3.4+deb13-amd64", "debian")
    assert "amdgpu.lockup_timeout=20000" in found.command_line
    (card,) = found.cards
    assert (card.name, card.pci, card.driver) == ("card1", "1002:1586", "amdgpu")
    assert (card.vram_total, card.gtt_total) == (GIB // 2, 108 * GIB)
    assert (card.gtt_used, card.busy_percent) == (94371840, 0)
    (tmp_path / "framework-desktop/sys/class/drm/card1/device/mem_info_vram_used").write_text("1000\n")
    assert hardware.gpu_memory_used(tmp_path / "framework-desktop") == 94372840
    assert found.gfx_targets == (110501,)
    assert found.firmware == {
        "VCE": 0,
        "ME": 0x20,
        "MEC": 0x1F,
        "SMC": 0x647000,
        "MES_KIQ": 0x6F,
        "MES": 0x80,
    }
    # What was removed and left its configuration behind is not installed.
    assert found.packages == {"firmware-amd-graphics": "20260916-1~bpo13+1"}
    assert found.pages_limit == 28311552


def test_of_nothing_nothing_is_read(tmp_path: Path) -> None:
    found = hardware.read(tmp_path, ("linux-firmware",))
    assert (found.memory, found.cards, found.firmware, found.packages) == (0, (), {}, {})
    assert (found.kernel, found.pages_limit, found.cpu_flags) == ("", None, frozenset())


@pytest.mark.negative
def test_what_is_no_number_is_not_known(tmp_path: Path) -> None:
    root = parts.host("framework-desktop", tmp_path)
    (root / "sys/class/drm/card1/device/mem_info_gtt_total").write_bytes(b"\xff\xfe many\n")
    (root / "sys/module/ttm/parameters/pages_limit").write_text("-1\n")
    found = hardware.read(root)
    assert (found.cards[0].gtt_total, found.pages_limit) == (None, None)


def test_outputs_of_a_card_are_no_cards(tmp_path: Path) -> None:
    (card,) = hardware.read(parts.host("wyse-5070", tmp_path)).cards
    assert (card.name, card.driver) == ("card0", "i915")


@pytest.mark.parametrize(
    ("path", "text", "counts"),
    [
        ("etc/environment", "HSA_OVERRIDE_GFX_VERSION=11.0.0\n", True),
        ("etc/systemd/system/llama.service", "[Service]\nEnvironment=HSA_OVERRIDE_GFX_VERSION=11.0.0\n", True),
        ("etc/systemd/system/a.service.d/gpu.conf", 'Environment="HSA_OVERRIDE_GFX_VERSION=11.0.0"\n', True),
        ("home/ann/.bashrc", "  export HSA_OVERRIDE_GFX_VERSION=11.0.0\n", True),
        ("etc/profile.d/gpu.sh", "# HSA_OVERRIDE_GFX_VERSION=11.0.0\n", False),
        ("etc/profile.d/gpu.sh", "export NO_HSA_OVERRIDE_GFX_VERSIONS=1\n", False),
        ("etc/motd", "HSA_OVERRIDE_GFX_VERSION\n", False),
    ],
)
def test_where_a_gpu_is_taken_for_another(path: str, text: str, counts: bool, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert hardware.read(tmp_path).overrides == ((f"/{path}",) if counts else ())


def test_the_environment_counts_as_well(tmp_path: Path) -> None:
    found = hardware.read(tmp_path, environment={"HSA_OVERRIDE_GFX_VERSION": "11.0.0"})
    assert found.overrides == ("the environment of this program (11.0.0)",)


@pytest.mark.parametrize(
    ("memory_gib", "gtt_gib"), [(124.97, 108), (128, 112), (192, 112), (62.5, 46), (31.1, 15), (17, 1)]
)
def test_the_gpu_has_what_the_system_can_spare(memory_gib: float, gtt_gib: int) -> None:
    """The rule: all but 16 GiB, at most 112. The figure: 25165824 pages are exactly 96 GiB (noamsto/nix-amd-ai#42)."""
    planned = memory.plan(int(memory_gib * GIB))
    assert planned.gtt_gib == gtt_gib
    assert planned.pages == gtt_gib * 25165824 // 96
    assert planned.arguments == (f"ttm.pages_limit={planned.pages}", "amdgpu.lockup_timeout=20000")


def test_the_iommu_is_off_only_where_that_is_wanted() -> None:
    assert memory.plan(128 * GIB, iommu_off=True).arguments[-1] == "amd_iommu=off"


@pytest.mark.negative
@pytest.mark.parametrize(
    ("memory_gib", "told", "message"),
    [
        (16.9, None, "this host has 16 GiB of memory, of which 16 stay with the system"),
        (0, None, "this host has 0 GiB of memory, of which 16 stay with the system"),
        (124.9, 121, "the GPU is to have 121 GiB of 124"),
        (124.9, 0, "the GPU is to have 0 GiB"),
    ],
)
def test_a_plan_that_leaves_too_little(memory_gib: float, told: int | None, message: str) -> None:
    with pytest.raises(Trouble) as caught:
        memory.plan(int(memory_gib * GIB), told)
    assert caught.value.message == message
    assert caught.value.hint


@pytest.mark.processes
def test_the_drop_in_adds_to_what_is_there(tmp_path: Path) -> None:
    """grub-mkconfig reads /etc/default/grub and then the drop-ins, as a shell."""
    (tmp_path / "grub").write_text('GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    (tmp_path / "inference.cfg").write_text(memory.plan(128 * GIB, iommu_off=True).drop_in)
    script = f'set -eu; . {tmp_path}/grub; . {tmp_path}/inference.cfg; printf %s "$GRUB_CMDLINE_LINUX_DEFAULT"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "quiet ttm.pages_limit=29360128 amdgpu.lockup_timeout=20000 amd_iommu=off"


CHANGED: dict[str, tuple[str, list[str]]] = {
    "as planned": ("ro ttm.pages_limit=28311552 amdgpu.lockup_timeout=20000", []),
    "the last one counts": ("ttm.pages_limit=1 amdgpu.lockup_timeout=20000 ttm.pages_limit=28311552", []),
    "another value": ("ttm.pages_limit=32505856 amdgpu.lockup_timeout=20000", ["ttm.pages_limit=32505856"]),
    "none": ("ro quiet", ["no ttm.pages_limit", "no amdgpu.lockup_timeout"]),
    "the IOMMU": (
        "ttm.pages_limit=28311552 amdgpu.lockup_timeout=20000 amd_iommu=off",
        ["amd_iommu=off"],
    ),
    "the IOMMU, on": ("ttm.pages_limit=28311552 amdgpu.lockup_timeout=20000 amd_iommu=on", []),
    "an older guide": (
        "amdttm.pages_limit=27648000 ttm.pages_limit=28311552 amdgpu.lockup_timeout=20000",
        ["amdttm.pages_limit=27648000"],
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_in_what_the_running_kernel_differs(case: str, tmp_path: Path) -> None:
    line, expected = CHANGED[case]
    root = parts.host("framework-desktop", tmp_path)
    (root / "proc/cmdline").write_text(f"{line}\n")
    found: list[Any] = memory.differences(memory.plan(int(124.97 * GIB)), hardware.read(root))
    assert [each.seen for each in found] == expected


def test_a_host_whose_kernel_does_not_obey(tmp_path: Path) -> None:
    """The arguments are there, and the memory is not: an older kernel that caps it, or a module's option."""
    root = parts.host("framework-desktop", tmp_path)
    (root / "sys/class/drm/card1/device/mem_info_gtt_total").write_text(f"{62 * GIB}\n")
    (root / "sys/module/ttm/parameters/pages_limit").write_text("16252928\n")
    found = memory.differences(memory.plan(int(124.97 * GIB)), hardware.read(root))
    assert [each.seen for each in found] == [
        "ttm/parameters/pages_limit is 16252928",
        "mem_info_gtt_total of card1 is 62.0 GiB",
    ]
