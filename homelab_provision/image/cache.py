"""The cache of built things: one directory per thing, named by a digest, published whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from homelab_provision import files
from homelab_provision.image.image import MANIFEST, SHORT, Image, load_image
from homelab_provision.paths import files_below

PACKAGE = Path(__file__).parent


def inputs_digest(inputs: Iterable[str], recipe: Iterable[Path]) -> str:
    """The digest of all that decides what comes out: words, and the recipe's own files."""
    digest = hashlib.sha256()
    for word in inputs:
        digest.update(f"{word}\0".encode())
    for path in sorted(_files(recipe)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(PACKAGE)} {path.stat().st_mode & 0o111:o} {content}\0".encode())
    return digest.hexdigest()


@contextmanager
def asking(shelf: Path, key: str) -> Iterator[None]:
    """Nobody else looks for `key` meanwhile: who waits here finds what has been built."""
    shelf.mkdir(parents=True, exist_ok=True)
    with files.exclusive(shelf / f".asked-{key[:SHORT]}"):
        yield


@contextmanager
def building(shelf: Path, key: str) -> Iterator[Path]:
    """An empty directory to build `key` in, while nobody else builds it. It is gone afterwards, if not published."""
    shelf.mkdir(parents=True, exist_ok=True)
    work = shelf / f".building-{key[:SHORT]}"
    with files.exclusive(shelf / f".lock-{key[:SHORT]}"):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def publish(work: Path, target: Path) -> Path:
    """Give a finished directory its name. If the name is taken, that content stands already and stays."""
    if not target.exists():
        work.rename(target)
    return target


def once(shelf: Path, key: str, build: Callable[[Path], None]) -> Path:
    """The directory of `key`, built by `build(directory)` if it is not there yet."""
    target = shelf / key[:SHORT]
    if not target.exists():
        with building(shelf, key) as work:
            if not target.exists():
                build(work)
                publish(work, target)
    return target


def list_images(cache: Path) -> tuple[Image, ...]:
    """All images of the cache, newest first."""
    found = [load_image(path.parent) for path in (cache / "images").glob(f"[0-9a-f]*/{MANIFEST}")]
    return tuple(sorted(found, key=lambda image: image.created, reverse=True))


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from files_below(path)
        else:
            yield path


def current_images(cache: Path) -> tuple[Image, ...]:
    """The images that a rebuild would take: the newest of each recipe."""
    pointers = (cache / "images" / "by-inputs").glob("[0-9a-f]*")
    return tuple(load_image(pointer.resolve()) for pointer in sorted(pointers) if pointer.exists())
