"""Runs on the system that a machine runs now: loads the kernel and the initramfs on standard input (a tar archive) for
kexec. Of the standard library alone; its argument is the kernel's command line.

It asks the kernel itself (kexec_file_load(2)), which checks the kernel's signature where Secure Boot is on.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tarfile

KEXEC_FILE_LOAD = 320  # on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl)
KERNEL, INITRD = "vmlinuz", "initrd.img"


def in_memory(name: str, data: bytes) -> int:
    file = os.memfd_create(name)
    with os.fdopen(os.dup(file), "wb") as writing:
        writing.write(data)
    return file


def main(command_line: str) -> str | None:
    """Why it cannot be done, or `None`."""
    if os.uname().machine != "x86_64":
        return f"it is {os.uname().machine}, not x86_64"
    files = {}
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            files[entry.name] = in_memory(entry.name, content.read() if content else b"")
    words = command_line.encode() + b"\0"
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = (KEXEC_FILE_LOAD, files[KERNEL], files[INITRD], len(words))
    if libc.syscall(*map(ctypes.c_long, numbers), ctypes.c_char_p(words), ctypes.c_ulong(0)) != 0:
        return f"its kernel takes no other in its place: {os.strerror(ctypes.get_errno())}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
