"""What is known to be too old, broken, or no GPU at all: facts, each with where it is from. `preflight` applies them.

Written in November 2026. The role's variables take the place of what is here where a site sets them.
"""

from __future__ import annotations

from dataclasses import dataclass

# The least kernel for the GPU gfx1151, by distribution and flavour (Ubuntu's packages are numbered otherwise).
KERNEL_MINIMUM = {
    "debian": "6.18.4",
    "ubuntu": "6.17.0-19.19~24.04.2",
    "ubuntu-oem": "6.14.0-1018",
}
KERNEL_SOURCE = "AMD, ROCm documentation, system optimization for RDNA 3.5 (read up to ROCm 7.12)"


@dataclass(frozen=True)
class Denied:
    """Something that must not be used, why not, and where that is from."""

    what: str
    why: str
    source: str


# A version of a package is denied when this stands in it.
FIRMWARE_DENIED = (
    Denied(
        "20251125",
        "its microcode for the GPU's scheduler (MES 0x83) makes the GPU hang and programs fail with page faults",
        "ROCm/legacy-rocm-build#5724; kyuz0/amd-strix-halo-toolboxes, README",
    ),
)
# Debian's names, and Ubuntu's.
FIRMWARE_PACKAGES = ("firmware-amd-graphics", "linux-firmware")
MES_DENIED = (
    Denied("0x83", "programs that compute on the GPU hang or fail with page faults", "ROCm/legacy-rocm-build#5724"),
)
DKMS_PACKAGES = ("amdgpu-dkms", "amdgpu-dkms-firmware")
DKMS_SOURCE = "ROCm/legacy-rocm-build#5991; AMD's instructions for Ryzen"

# Builds of llama.cpp, from and to, that compute wrongly with ROCm. The limits are by date, not by test.
BUILDS_DENIED_ROCM = ((10040, 10840),)
BUILDS_SOURCE = "ggml-org/llama.cpp#28211: perplexity 1334 instead of 6.81; came with #24233, mended by #28574"

# Memory that the firmware keeps from the system for the GPU, at most, in MiB.
UMA_MAX_MIB = 4096
UMA_SOURCE = "AMD recommends 0.5 GB; ollama/ollama#16462: of 128 GB with 96 set aside, 27.5 GiB were of use"
# What the GPU may use of the system's memory.
GTT_MAX_GIB, GTT_LEFT_GIB = 112, 16
# noamsto/nix-amd-ai#42: ttm.pages_limit alone sets mem_info_gtt_total; amdgpu.gttsize is deprecated (docs.kernel.org).

LOCKUP_TIMEOUT_MS = 20000
LOCKUP_SOURCE = "ggml-org/llama.cpp#25664, #27076: on kernels 7.x long prompts end in DeviceLost"

# GPUs for which the role is made, by PCI identifier: they share the system's memory, and the carve-out counts.
STRIX_HALO = {"1002:1586": "Radeon 8060S or 8050S (Strix Halo, gfx1151)"}
GFX_TARGET = 110501  # how the kernel writes gfx1151 (/sys/class/kfd)

# GPUs in Dell's Wyse thin clients, which are known by their names as well: slower at this than the CPUs beside them.
THIN_CLIENT_GPUS = {
    "8086:3184": "UHD Graphics 605 (Gemini Lake: Wyse 5070)",
    "8086:3185": "UHD Graphics 600 (Gemini Lake: Wyse 5070)",
    "8086:22b0": "HD Graphics (Cherry Trail: Wyse 3040)",
    "8086:0f31": "HD Graphics (Bay Trail: Wyse 3030)",
}
THIN_CLIENT_SOURCE = "pci.ids; linuxhw/LsPCI"
# Cards that show a picture and compute nothing: of virtual machines and of servers' management controllers.
NOT_GPUS = {
    "1234:1111": "the picture of a virtual machine (bochs)",
    "1af4:1050": "the picture of a virtual machine (virtio)",
    "1b36:0100": "the picture of a virtual machine (QXL)",
    "1013:00b8": "the picture of a virtual machine (Cirrus)",
    "15ad:0405": "the picture of a virtual machine (VMware)",
    "1a03:2000": "the screen of a management controller (ASPEED)",
    "102b:0522": "the screen of a management controller (Matrox)",
}
HSA_SOURCE = "lemonade-sdk/llamacpp-rocm#115: with it, ROCm loads the kernels of another GPU"
