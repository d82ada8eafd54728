"""What goes into the rescue system. Everything listed here costs boot time: it is read from a stick and unpacked."""

from __future__ import annotations

PACKAGES = (
    "linux-image-amd64", "busybox", "openssh-server", "python3-minimal", "libpython3-stdlib", "zstd", "fdisk",
    "util-linux", "e2fsprogs", "efibootmgr", "coreutils", "tar", "shim-signed", "grub-efi-amd64-signed",
    # of which only the files are taken that a driver below names
    "firmware-realtek", "firmware-misc-nonfree",
)  # fmt: skip

PROGRAMS = (
    "usr/bin/busybox", "usr/bin/python3.13", "usr/bin/zstd", "usr/bin/dd", "usr/bin/tar",
    "usr/sbin/sshd", "usr/lib/openssh/sshd-session", "usr/lib/openssh/sshd-auth",
    "usr/sbin/sfdisk", "usr/sbin/wipefs", "usr/sbin/blkid", "usr/bin/partx",
    "usr/bin/lsblk", "usr/sbin/blkdiscard", "usr/sbin/blockdev", "usr/sbin/losetup",
    "usr/sbin/mke2fs", "usr/sbin/e2fsck", "usr/sbin/resize2fs", "usr/sbin/tune2fs", "usr/sbin/dumpe2fs",
    "usr/bin/efibootmgr",
)  # fmt: skip

LOADER = "usr/lib64/ld-linux-x86-64.so.2"
LIBRARY_DIRECTORY = "usr/lib/x86_64-linux-gnu"
# Opened at run time, not linked.
LIBRARIES = ("libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2")

# What `facts.py`, `writer.py` and their imports need, and what makes a Python prompt useful in a repair.
PYTHON_MODULES = (
    "__future__", "_collections_abc", "_colorize", "_compat_pickle", "_compression", "_opcode_metadata",
    "_pydatetime", "_sitebuiltins", "_strptime", "_weakrefset", "abc", "argparse", "ast", "base64", "bisect",
    "bz2", "calendar", "codecs", "collections", "concurrent", "contextlib", "copy", "copyreg", "dataclasses",
    "datetime", "dis", "encodings/__init__", "encodings/aliases", "encodings/ascii", "encodings/idna",
    "encodings/latin_1", "encodings/utf_8", "enum", "fnmatch", "functools", "genericpath", "gettext",
    "glob", "hashlib", "heapq", "importlib", "inspect", "io", "ipaddress", "json", "keyword", "linecache",
    "locale", "logging", "lzma", "ntpath", "opcode", "operator", "os", "pathlib", "platform", "posixpath",
    "queue", "random", "re", "reprlib", "runpy", "selectors", "shlex", "shutil", "signal", "site", "socket",
    "stat", "string", "struct", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "token", "tokenize",
    "traceback", "types", "typing", "urllib", "uuid", "warnings", "weakref", "zipimport",
)  # fmt: skip
PYTHON_EXTENSIONS = ("usr/lib/python3*/lib-dynload/_hashlib.*.so", "usr/lib/python3*/lib-dynload/mmap.*.so")

MODULES = (
    # Disks: SATA, USB, NVMe, eMMC and SD, and the paravirtual ones of a virtual machine
    "ahci", "ata_piix", "libahci", "sd_mod", "sg", "usb_storage", "uas", "nvme", "mmc_block", "sdhci_pci", "sdhci_acpi",
    "rtsx_pci", "rtsx_pci_sdmmc", "rtsx_usb", "rtsx_usb_sdmmc", "vmd", "virtio_blk", "virtio_scsi", "virtio_pci",
    "scsi_mod", "cqhci", "intel_lpss_pci", "intel_lpss_acpi", "pinctrl_geminilake", "pinctrl_broxton",
    # USB controllers and keyboards
    "xhci_pci", "ehci_pci", "ohci_pci", "uhci_hcd", "usbhid", "hid_generic", "atkbd", "i8042",
    # Network cards, built in and plugged in
    "r8169", "realtek", "e1000", "e1000e", "igb", "igc", "tg3", "bnxt_en", "ixgbe", "atlantic", "alx", "atl1c", "sky2",
    "virtio_net", "r8152", "ax88179_178a", "asix", "cdc_ether", "cdc_ncm", "aqc111",
    # File systems and what they lean on
    "ext4", "crc32c_generic", "crc32c_intel", "libcrc32c", "vfat", "nls_cp437", "nls_ascii",
    "nls_iso8859_1", "nls_utf8", "efivarfs", "loop", "mbcache", "jbd2",
    # Reading the machine's identity
    "dmi_sysfs", "efi_pstore",
)  # fmt: skip
