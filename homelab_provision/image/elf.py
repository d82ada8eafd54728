"""Which shared libraries a program needs, read from its dynamic section (ELF64, little-endian)."""

from __future__ import annotations

import struct

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5


def needed(data: bytes) -> tuple[str, ...]:
    """The sonames in `DT_NEEDED`; empty for what is not a dynamic ELF file."""
    if data[:6] != b"\x7fELF\x02\x01":
        return ()
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(count)]
    entries: list[tuple[int, int]] = []
    for kind, _, offset, _, _, length in headers:
        if kind == PT_DYNAMIC:
            entries = list(struct.iter_unpack("<QQ", data[offset : offset + length // 16 * 16]))
    if (DT_NULL, 0) in entries:
        entries = entries[: entries.index((DT_NULL, 0))]
    strings = next((value for tag, value in entries if tag == DT_STRTAB), None)
    if strings is None:
        return ()
    base = next(
        offset + strings - address
        for kind, _, offset, address, _, length in headers
        if kind == PT_LOAD and address <= strings < address + length
    )
    return tuple(_text(data, base + value) for tag, value in entries if tag == DT_NEEDED)


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
