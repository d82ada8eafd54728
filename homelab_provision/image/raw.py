"""Put an image together as a whole disk in a sparse file: for `dd`, for benchmarks, for a virtual machine."""

from __future__ import annotations

import zlib
from pathlib import Path

from homelab_provision.doors import process
from homelab_provision.image.image import Image, ImageError
from homelab_provision.image.layout import Layout, plan_layout

DEADLINE = 300.0


def assemble_raw(image: Image, path: Path, disk_bytes: int) -> Layout:
    """Write a bootable disk of `disk_bytes` to `path`: every extent at its place, then the table.

    The data partition stays unformatted, and root keeps the size that it has in the image.
    Raises `ImageError` if the payload is not what the manifest says.
    """
    layout = plan_layout(disk_bytes, image.root_fs_bytes, identity=image.digest)
    starts = {partition.name: partition.offset_bytes for partition in layout.partitions}
    content = path.with_name(f".{path.name}.content")
    try:
        process.run(["zstd", "-q", "-d", "-f", image.payload, "-o", content], deadline=DEADLINE)
        with content.open("rb") as source, path.open("wb") as disk:
            disk.truncate(disk_bytes)
            for extent in image.extents:
                data = source.read(extent.length)
                if f"{zlib.crc32(data):08x}" != extent.digest:
                    raise ImageError(f"image {image.short} is damaged at {extent.partition}+{extent.offset}")
                disk.seek(starts[extent.partition] + extent.offset)
                disk.write(data)
    finally:
        content.unlink(missing_ok=True)
    process.run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path], deadline=DEADLINE,
                input=layout.sfdisk_script())  # fmt: skip
    return layout
