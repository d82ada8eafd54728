"""Debian 13's own file system tools, run on any controller through their own loader, without root and without a chroot.

mke2fs of the image's release reads a tar archive and honours SOURCE_DATE_EPOCH; older ones do neither. And an image
made by the same tools is the same on every controller.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.events import Emit, step
from homelab_provision.image import cache as shelf
from homelab_provision.image.cache import PACKAGE
from homelab_provision.image.mirror import Mirror
from homelab_provision.image.mmdebstrap import fetch_root, mmdebstrap_argv

PACKAGES = ("e2fsprogs", "libarchive13t64")
LOADER = "usr/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class Toolbox:
    """An unpacked set of programs."""

    directory: Path

    def argv(self, program: str, *arguments: str | Path) -> list[str]:
        """The command that runs `program` (a path like `usr/sbin/mke2fs`) of the toolbox."""
        loader, libraries = self.directory / LOADER, self.directory / LIBRARIES
        words: tuple[str | Path, ...] = (loader, "--library-path", libraries, self.directory / program, *arguments)
        return [str(word) for word in words]


def toolbox(cache: Path, suite: str, mirror: Mirror | None, emit: Emit) -> Toolbox:
    """The tools of a release, fetched once."""

    def build(work: Path) -> None:
        packed = work / "root.tar"
        with step(emit, "image/tools"):
            fetch_root(mmdebstrap_argv(suite, packed, PACKAGES, variant="extract", mirror=mirror))
            with tarfile.open(packed) as tar:
                wanted = (m for m in tar if m.name.startswith(("./usr/", "./etc/")) and (m.isfile() or m.issym()))
                # Python 3.11.2 (Debian 12) knows no filters yet; what is unpacked is signed by Debian.
                if data_filter := getattr(tarfile, "data_filter", None):
                    tar.extraction_filter = data_filter
                tar.extractall(work, members=wanted)
        packed.unlink()

    key = shelf.inputs_digest([suite, *PACKAGES], [PACKAGE / "toolbox.py"])
    return Toolbox(shelf.once(cache / "tools", key, build))
