"""Runs on the system that a machine runs now: loads the kernel and the initramfs on standard input (a tar archive) for
kexec. Of the standard library alone; its argument is the kernel's command line. Without one, what was loaded is
dropped, so that the next restart goes through the firmware again.

It asks the kernel itself (kexec_file_load(2)), which checks the kernel's signature where Secure Boot is on.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tarfile

KEXEC_FILE_LOAD = 320  # on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl)
UNLOAD = 1  # KEXEC_FILE_UNLOAD (include/uapi/linux/kexec.h)
KERNEL, INITRD = "vmlinuz", "initrd.img"


def in_memory(name: str, data: bytes) -> int:
    file = os.memfd_create(name)
    with os.fdopen(os.dup(file), "wb") as writing:
        writing.write(data)
    return file


def refusal(kernel: int, initrd: int, words: bytes, flags: int) -> str | None:
    """Ask the kernel; why it does not do it, or `None`."""
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = map(ctypes.c_long, (KEXEC_FILE_LOAD, kernel, initrd, len(words)))
    if libc.syscall(*numbers, ctypes.c_char_p(words), ctypes.c_ulong(flags)) != 0:
        return f"its kernel takes no other in its place: {os.strerror(ctypes.get_errno())}"
    return None


def main(*command_line: str) -> str | None:
    """Why it cannot be done, or `None`."""
    if os.uname().machine != "x86_64":
        return f"it is {os.uname().machine}, not x86_64"
    if not command_line:
        return refusal(-1, -1, b"", UNLOAD)
    files = {}
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            files[entry.name] = in_memory(entry.name, content.read() if content else b"")
    return refusal(files[KERNEL], files[INITRD], command_line[0].encode() + b"\0", 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
