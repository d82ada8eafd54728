"""Read single files out of a Debian root that lies in a tar archive, symlinks followed, nothing unpacked to disk."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from homelab_provision.image.mmdebstrap import BuildError


class RootArchive:
    """A tar archive of a root file system; names are relative, like `usr/bin/zstd`."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path)  # noqa: SIM115 - closed by __exit__
        self._members = {self._name(member.name): member for member in self._tar}

    def __enter__(self) -> RootArchive:
        return self

    def __exit__(self, *error: object) -> None:
        self._tar.close()

    @staticmethod
    def _name(name: str) -> str:
        return posixpath.normpath(name).lstrip("/")

    def names(self, pattern: str) -> Iterator[str]:
        """Names of regular files and links that match a shell pattern (`*` also matches `/`)."""
        return (name for name, member in self._members.items() if not member.isdir() and fnmatch(name, pattern))

    def first(self, pattern: str) -> str:
        """The first name that matches. Raises `BuildError` if the packages bring none."""
        found = min(self.names(pattern), default=None)
        if found is None:
            raise BuildError(f"the packages bring nothing that is called /{pattern}")
        return found

    def sizes(self) -> Iterator[int]:
        """The size of every file in bytes, and of every directory what it will at least take."""
        return (1 if member.isdir() else member.size for member in self._members.values())

    def resolve(self, name: str) -> str:
        """The name of the file that `name` leads to. Raises `BuildError` if there is none."""
        for _ in range(16):
            member = self._members.get(name)
            if member is None:
                raise BuildError(f"the packages bring no /{name}")
            if member.issym():
                name = self._name(posixpath.join("/", posixpath.dirname(name), member.linkname))
            elif member.islnk():
                name = self._name(member.linkname)
            else:
                return name
        raise BuildError(f"/{name} is a loop of links")

    def read(self, name: str) -> bytes:
        stream = self._tar.extractfile(self._members[self.resolve(name)])
        if stream is None:
            raise BuildError(f"/{name} is no regular file")
        return stream.read()
