"""The operating system's image as it lies in the cache: a manifest and a compressed stream of used extents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from homelab_provision.errors import ProvisionError
from homelab_provision.image.layout import ROOT

MANIFEST, PAYLOAD = "manifest.json", "payload.zst"
FORMAT = 1
# So much of a digest names a directory, and an image in a sentence.
SHORT = 12
# Measured in the rescue under emulation, MiB/s: crc32 605, md5 460, sha512 140, blake2b 70, sha256 22. The readback
# guards against media and transport inside the machine; who made the bytes is proven by `payload_sha256` and SSH.
DIGEST_ALGORITHM = "crc32"


class ImageError(ProvisionError):
    """An image in the cache is damaged or of another version."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImagePartition(_Frozen):
    """One file system of the image; `size_bytes` is what it has in the image, not what it gets on a disk."""

    name: str
    filesystem: str
    type_guid: str
    size_bytes: int
    uuid: str
    label: str


class Extent(_Frozen):
    """A part of a partition that travels: where it goes (bytes into the partition) and its digest."""

    partition: str
    offset: int
    length: int
    digest: str


class Image(_Frozen):
    """A built image. `digest` names its content: the same content has the same digest wherever it is built."""

    format: int = FORMAT
    digest: str
    created: datetime
    """When its packages were the newest: a build that finds the same content again moves it."""
    suite: str
    inputs: str
    packages: Mapping[str, str]
    partitions: tuple[ImagePartition, ...]
    digest_algorithm: str
    extents: tuple[Extent, ...]
    content_bytes: int
    payload_bytes: int
    payload_sha256: str
    security: bool = True
    """Whether Debian's security updates were among what it was built from; older versions did not note it."""
    _directory: Path = PrivateAttr(default=Path())

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def payload(self) -> Path:
        return self._directory / PAYLOAD

    @property
    def short(self) -> str:
        return self.digest[:SHORT]

    def partition(self, name: str) -> ImagePartition:
        return next(p for p in self.partitions if p.name == name)

    @property
    def root_fs_bytes(self) -> int:
        return self.partition(ROOT).size_bytes

    def placed(self, directory: Path) -> Image:
        """The same image, lying in `directory`."""
        copy = self.model_copy()
        copy._directory = directory
        return copy


def content_digest(partitions: tuple[ImagePartition, ...], extents: tuple[Extent, ...], content_sha256: str) -> str:
    """The name of a content: what is written where."""
    parts: dict[str, Any] = {
        "partitions": [p.model_dump() for p in partitions],
        "extents": [e.model_dump() for e in extents],
        "content": content_sha256,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load_image(directory: Path) -> Image:
    """Read the manifest of an image. Raises `ImageError`."""
    try:
        return Image.model_validate_json((directory / MANIFEST).read_bytes()).placed(directory)
    except (OSError, ValidationError) as error:
        raise ImageError(
            f"the image in {directory} cannot be read: {error}", hint="delete that directory and build the image again"
        ) from error


def check_image(image: Image) -> None:
    """Compare the payload with its manifest; a second or so. Raises `ImageError`."""
    try:
        with image.payload.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"the payload of image {image.short} cannot be read: {error}") from error
    if found != image.payload_sha256:
        raise ImageError(
            f"image {image.short} is damaged: the SHA-256 of {image.payload} is {found[:12]}…, "
            f"its manifest says {image.payload_sha256[:12]}…",
            hint="delete that directory and build the image again",
        )
