"""What the hardware of a homelab's boxes has to be given by the system, and is not in the kernel itself.

The image is the same for every box, as a spare that becomes a host may be another model. So it carries what any of them
needs, and a build whose packages lack one of it fails: a missing file is noticed by nobody until a box has no network
or a black screen.
"""

from __future__ import annotations

from homelab_provision.image.mmdebstrap import BuildError
from homelab_provision.image.root_archive import RootArchive

# All of Debian's component non-free-firmware.
PACKAGES = (
    "firmware-realtek",
    "firmware-misc-nonfree",
    "firmware-intel-graphics",
    "firmware-amd-graphics",
    "intel-microcode",
    "amd64-microcode",
)
FIRMWARE = "usr/lib/firmware"
# At least one file of each has to be there.
WANTED = (
    "rtl_nic/rtl8168h-*",  # the Wyse 5070's network card
    "rtl_nic/rtl8125*",
    "rtl_nic/rtl8106e-*",
    "rtl_nic/rtl8126a-*",  # newer boards', the Framework Desktop's
    "rtl_nic/rtl8153*",
    "rtl_nic/rtl8156*",  # USB adapters
    "tigon/tg3*",
    "i915/glk_*",
    "i915/adl*",
    "i915/tgl_*",
    "xe/*",  # Gemini Lake is the Wyse 5070
    "amdgpu/gc_11_5_1_*",
    "amdgpu/psp_14_0_1_*",
    "amdgpu/dcn_3_5_1_*",  # the Framework Desktop
    "amdgpu/renoir_*",
    "amdgpu/raven_*",
    "intel-ucode/06-7a-01",
    "amd-ucode/microcode_amd_fam19h.bin",
)
# The kernel takes microcode from an archive in front of the initramfs, before anything else runs:
# https://www.kernel.org/doc/html/latest/arch/x86/microcode.html
EARLY_MICROCODE = ("kernel/x86/microcode/GenuineIntel.bin", "kernel/x86/microcode/AuthenticAMD.bin")
EARLY_BYTES = 128 * 1024 * 1024


def check_firmware(root: RootArchive) -> None:
    """Raises `BuildError` if firmware or early microcode is missing from a root that was built."""
    missing = [pattern for pattern in WANTED if not any(root.names(f"{FIRMWARE}/{pattern}"))]
    initramfs = root.read(root.first("boot/initrd.img-*"))[:EARLY_BYTES]
    missing += [name for name in EARLY_MICROCODE if name.encode() not in initramfs]
    if missing:
        raise BuildError(
            f"the image lacks firmware: nothing is there for {', '.join(missing)}",
            hint="the packages have changed; see `homelab_provision/image/firmware.py`",
        )
