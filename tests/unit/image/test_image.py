"""The image in the cache: keys, manifests, damage."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homelab_provision.image import cache
from homelab_provision.image.cache import list_images
from homelab_provision.image.image import (
    Extent,
    Image,
    ImageError,
    ImagePartition,
    check_image,
    content_digest,
    load_image,
)
from homelab_provision.image.layout import ESP, ROOT
from homelab_provision.image.os_image import (
    FILES,
    Recipe,
    SystemAccount,
    account_hooks,
    find_image,
    image_key,
    overlay_archive,
    root_bytes,
)

PAYLOAD = b"compressed" * 1000


def _image(directory: Path, created: datetime | None = None) -> Image:
    parts = tuple(
        ImagePartition(name=name, filesystem="x", type_guid="G", size_bytes=1 << 20, uuid="U", label=name)
        for name in (ESP, ROOT)
    )
    extents = (Extent(partition=ROOT, offset=0, length=4096, digest="00000000"),)
    image = Image(
        digest=content_digest(parts, extents, "c"),
        created=created or datetime.now(UTC),
        suite="trixie",
        inputs="i",
        packages={"a": "1"},
        partitions=parts,
        digest_algorithm="crc32",
        extents=extents,
        content_bytes=4096,
        payload_bytes=len(PAYLOAD),
        payload_sha256=hashlib.sha256(PAYLOAD).hexdigest(),
    )
    directory.mkdir(parents=True)
    (directory / "payload.zst").write_bytes(PAYLOAD)
    (directory / "manifest.json").write_text(image.model_dump_json())
    return image


def test_a_manifest_reads_back(tmp_path: Path) -> None:
    written = _image(tmp_path / "x")
    image = load_image(tmp_path / "x")
    assert image.model_dump() == written.model_dump()
    assert image.payload == tmp_path / "x/payload.zst"
    assert image.root_fs_bytes == 1 << 20
    check_image(image)


def test_one_flipped_byte_is_found(tmp_path: Path) -> None:
    _image(tmp_path / "x")
    (tmp_path / "x/payload.zst").write_bytes(PAYLOAD[:5000] + b"X" + PAYLOAD[5001:])
    with pytest.raises(ImageError, match="is damaged"):
        check_image(load_image(tmp_path / "x"))


@pytest.mark.parametrize("manifest", ["", "{}", '{"digest": 1}', "no json"])
def test_a_broken_manifest_says_where(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ImageError, match=str(tmp_path)):
        load_image(tmp_path)


def test_images_are_listed_newest_first_and_drafts_not_at_all(tmp_path: Path) -> None:
    for day in (1, 3, 2):
        _image(tmp_path / f"images/{day}aaa", datetime(2026, 1, day, tzinfo=UTC))
    _image(tmp_path / "images/.building-5")
    assert [image.created.day for image in list_images(tmp_path)] == [3, 2, 1]


def test_the_key_follows_the_packages_but_not_their_order_nor_the_mirror() -> None:
    key = image_key(Recipe(packages=("b", "a")))
    assert key == image_key(Recipe(packages=("a", "b", "a"), mirror="http://elsewhere/debian"))
    assert key != image_key(Recipe(packages=("a",)))
    assert key != image_key(Recipe(packages=("b", "a"), suite="forky"))


def test_nothing_is_found_in_an_empty_cache(tmp_path: Path) -> None:
    assert find_image(Recipe(), tmp_path) is None
    assert list_images(tmp_path) == ()


def test_the_overlay_is_the_same_every_time_and_hooks_are_executable() -> None:
    assert overlay_archive() == overlay_archive()
    with tarfile.open(fileobj=io.BytesIO(overlay_archive())) as tar:
        modes = {member.name: member.mode for member in tar}
        assert {member.uid for member in tar} == {0}
    assert modes["./etc/initramfs-tools/hooks/homelab-provision"] == 0o755
    assert modes["./etc/fstab"] == 0o644
    assert len(modes) == sum(path.is_file() for path in FILES.rglob("*")) + 1


def test_no_identity_and_no_mirror_is_baked_in() -> None:
    texts = [path.read_text() for path in FILES.rglob("*") if path.is_file()]
    assert not any("PRIVATE KEY" in text or "http://" in text or "https://" in text for text in texts)


def test_root_is_rounded_and_larger_than_its_files() -> None:
    assert root_bytes(iter([1] * 1000)) > 1000 * 4096
    assert root_bytes(iter([500 << 20])) % (16 << 20) == 0


def test_two_builders_of_one_key_build_once(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(work: Path) -> None:
        built.append(work)
        (work / "file").write_text("x")

    threads = [threading.Thread(target=cache.once, args=(tmp_path, "k" * 64, build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert (tmp_path / ("k" * 12) / "file").read_text() == "x"


def test_a_failed_build_leaves_nothing_and_may_be_repeated(tmp_path: Path) -> None:
    def fail(work: Path) -> None:
        (work / "half").write_text("x")
        raise ImageError("no")

    with pytest.raises(ImageError):
        cache.once(tmp_path, "k" * 64, fail)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".lock")]
    assert cache.once(tmp_path, "k" * 64, lambda work: None).exists()


def test_an_account_is_there_before_the_packages(tmp_path: Path) -> None:
    """Its number stands where the packages look before they would take the next free one."""
    hooks = account_hooks([SystemAccount(name="postgres", id=5432, home="/var/lib/postgresql", comment="It's data")])
    assert [hook.split(" ")[0] for hook in hooks] == ["--essential-hook=echo"] * 4
    assert "postgres:x:5432:5432:It" in hooks[0]
    assert hooks[0].endswith('>>"$1/etc/passwd"')
    assert hooks[1] == """--essential-hook=echo postgres:x:5432: >>"$1/etc/group\""""


def test_what_comes_before_the_packages_makes_another_image() -> None:
    account = SystemAccount(name="postgres", id=5432, home="/var/lib/postgresql")
    keys = {image_key(recipe) for recipe in (Recipe(), Recipe(accounts=(account,)), Recipe(early={"etc/x": "y"}))}
    assert len(keys) == 3
