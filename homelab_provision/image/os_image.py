"""Build the image of the operating system: packages, two file systems, and the stream of what they hold.

Nothing is mounted and nothing needs root: mmdebstrap makes a tar archive, mke2fs reads it, mtools fill the ESP.
"""

from __future__ import annotations

import hashlib
import io
import re
import shlex
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from homelab_provision.doors import process
from homelab_provision.events import Emit, step
from homelab_provision.image import cache as shelf
from homelab_provision.image import esp, firmware
from homelab_provision.image.cache import PACKAGE
from homelab_provision.image.extents import ext4_spans, fat_spans, joined
from homelab_provision.image.image import (
    DIGEST_ALGORITHM,
    MANIFEST,
    PAYLOAD,
    SHORT,
    Extent,
    Image,
    ImagePartition,
    content_digest,
    load_image,
)
from homelab_provision.image.layout import ESP, ESP_BYTES, ESP_TYPE, MIB, ROOT, ROOT_TYPE
from homelab_provision.image.mirror import complete, find_mirror
from homelab_provision.image.mmdebstrap import SOURCE_DATE_EPOCH, fetch_root, mmdebstrap_argv
from homelab_provision.image.root_archive import RootArchive
from homelab_provision.image.toolbox import Toolbox, toolbox
from homelab_provision.paths import files_below

PACKAGES = (
    "linux-image-amd64",
    "initramfs-tools",
    "busybox",
    "zstd",
    "shim-signed",
    "grub-efi-amd64-signed",
    "efibootmgr",
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "dbus",
    "kmod",
    "e2fsprogs",
    "dosfstools",
    "fdisk",
    "openssh-server",
    "python3",
    "sudo",
    "nftables",
    "iproute2",
    "iputils-ping",
    "chrony",
    "unattended-upgrades",
    "ca-certificates",
    "locales",
    "tzdata",
    "procps",
    "less",
    "vim-tiny",
    *firmware.PACKAGES,
)
FILES = PACKAGE / "os_files"
FINISH = PACKAGE / "os_finish.sh"
GRUB_CONFIG = PACKAGE / "os_grub.cfg"
RECIPE = (
    FILES,
    FINISH,
    GRUB_CONFIG,
    *(
        PACKAGE / name
        for name in ("os_image.py", "firmware.py", "esp.py", "extents.py", "layout.py", "mmdebstrap.py", "toolbox.py")
    ),
)
EXECUTABLE = ("etc/initramfs-tools/hooks/", "etc/initramfs-tools/scripts/", "usr/local/libexec/", "usr/local/sbin/")

# Fixed, so that the same packages give the same bytes. What has to differ between machines (partition GUIDs) is given
# when a disk is laid out.
ROOT_UUID = "6f9d1e5a-5d2c-4b43-9c0e-3a1f6a7c0001"
ESP_SERIAL = "484c5045"
ROOT_LABEL, ESP_LABEL = ROOT, ESP.upper()
JOURNAL_MIB = 32
ROOT_SLACK_BYTES = 96 * MIB
BLOCK = 4096
ZSTD_LEVEL = "-12"
DEADLINE = 600.0


class SystemAccount(BaseModel):
    """The account of a service, whose number has to be the same on every host; `id` is that of its group, too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    id: int
    home: str
    comment: str = ""
    shell: str = "/usr/sbin/nologin"


class Recipe(BaseModel):
    """What an image is made from: beside the fixed parts, the packages that the host's roles declare, the files
    (path from the root → text) that they put on every host alike, and what the packages have to find there:
    accounts, and `early` files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    packages: tuple[str, ...] = ()
    accounts: tuple[SystemAccount, ...] = ()
    files: dict[str, str] = {}
    early: dict[str, str] = {}
    suite: str = "trixie"
    mirror: str | None = None


def image_key(recipe: Recipe) -> str:
    """The digest of everything that goes in, except from which mirror the packages come."""
    told = recipe.model_copy(update={"packages": tuple(sorted({*PACKAGES, *recipe.packages})), "mirror": None})
    return shelf.inputs_digest([told.model_dump_json()], RECIPE)


def find_image(recipe: Recipe, cache: Path) -> Image | None:
    """The image of this recipe, if the cache has it."""
    pointer = cache / "images" / "by-inputs" / image_key(recipe)[:SHORT]
    return load_image(pointer.resolve()) if pointer.exists() else None


def build_image(recipe: Recipe, cache: Path, emit: Emit) -> Image:
    """Build the image anew (a minute or two) and make it the one that `find_image` finds."""
    key, images = image_key(recipe), cache / "images"
    mirror = complete(find_mirror(recipe.mirror), recipe.suite)
    tools = toolbox(cache, recipe.suite, mirror, emit)
    with shelf.building(images, key) as work:
        root = work / "root.tar"
        with step(emit, "image/packages"):
            overlay, roles = work / "overlay.tar", work / "roles.tar"
            overlay.write_bytes(overlay_archive(recipe.early))
            roles.write_bytes(tar_of({path: text.encode() for path, text in recipe.files.items()}))
            packages = sorted({*PACKAGES, *recipe.packages})
            fetch_root(
                mmdebstrap_argv(
                    recipe.suite,
                    root,
                    packages,
                    variant="apt",
                    mirror=mirror,
                    options=hooks(overlay, roles, recipe.accounts),
                )
            )
        with step(emit, "image/filesystems"), RootArchive(root) as archive:
            firmware.check_firmware(archive)
            installed = _installed(archive)
            _make_esp(archive, work / ESP)
            _make_root(archive, root, work / ROOT, tools)
        root.unlink()
        with step(emit, "image/payload"):
            image = _pack(recipe, key, installed, work, tools, security=mirror is None or mirror.security is not None)
        target = shelf.publish(_only_finished(work), images / image.short)
        renew(target, image)
        _point(images / "by-inputs" / key[:SHORT], target)
    return load_image(target)


def hooks(overlay: Path, roles: Path, accounts: Iterable[SystemAccount]) -> list[str]:
    """Options of mmdebstrap: our files lie there before the kernel's initramfs is made, those of the roles replace what
    the packages brought, and the finish runs last."""
    return [
        *account_hooks(accounts),
        f"--essential-hook=tar-in {overlay} /",
        f"--customize-hook=tar-in {roles} /",
        "--customize-hook=chroot \"$1\" sh /usr/local/libexec/finish-image",
        "--customize-hook=rm \"$1/usr/local/libexec/finish-image\"",
    ]  # fmt: skip


def account_hooks(accounts: Iterable[SystemAccount]) -> list[str]:
    """Options of mmdebstrap that make accounts before the packages do; useradd is not there that early."""
    entries = [
        (file, line)
        for one in accounts
        for file, line in (
            ("passwd", f"{one.name}:x:{one.id}:{one.id}:{one.comment}:{one.home}:{one.shell}"),
            ("group", f"{one.name}:x:{one.id}:"),
            ("shadow", f"{one.name}:!:{int(SOURCE_DATE_EPOCH) // 86400}::::::"),
            ("gshadow", f"{one.name}:!::"),
        )
    ]
    return [f'--essential-hook=echo {shlex.quote(line)} >>"$1/etc/{file}"' for file, line in entries]


def overlay_archive(early: Mapping[str, str] | None = None) -> bytes:
    """Our own files of the root, and what roles want there first, as a tar archive that is the same every time."""
    files = {str(p.relative_to(FILES)): p.read_bytes() for p in files_below(FILES)}
    files |= {path: text.encode() for path, text in (early or {}).items()}
    files["usr/local/libexec/finish-image"] = FINISH.read_bytes()
    return tar_of(files)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """Files (path from the root → content) as a tar archive; where they lie says how open they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(f"./{name}")
            info.mode = 0o755 if name.startswith(EXECUTABLE) else 0o440 if name.startswith("etc/sudoers.d/") else 0o644
            info.mtime = int(SOURCE_DATE_EPOCH)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def root_bytes(members: Iterator[int]) -> int:
    """How large root has to be for files of these sizes: their blocks, inodes, journal, some room."""
    blocks = sum(-(-size // BLOCK) for size in members)
    needed = int(blocks * BLOCK * 1.03) + JOURNAL_MIB * MIB + ROOT_SLACK_BYTES
    return -(-needed // (16 * MIB)) * 16 * MIB


def mke2fs_argv(tools: Toolbox, archive: Path, target: Path) -> list[str]:
    return tools.argv(
        "usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-T", "default", "-b", str(BLOCK), "-m", "1",
        "-L", ROOT_LABEL, "-U", ROOT_UUID, "-E", f"hash_seed={ROOT_UUID},root_owner=0:0,lazy_itable_init=1",
        "-J", f"size={JOURNAL_MIB}", "-d", archive, target,
    )  # fmt: skip


def _make_root(archive: RootArchive, packed: Path, target: Path, tools: Toolbox) -> None:
    with target.open("wb") as file:
        file.truncate(root_bytes(archive.sizes()))
    env = {"SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "MKE2FS_CONFIG": str(tools.directory / "etc/mke2fs.conf")}
    process.run(mke2fs_argv(tools, packed, target), deadline=DEADLINE, env=env)


def _make_esp(root: RootArchive, target: Path) -> None:
    with target.open("wb") as file:
        file.truncate(ESP_BYTES)
    process.run(
        esp.mkfs_argv(target, ESP_BYTES // 1024, label=ESP_LABEL, serial=ESP_SERIAL, sectors_per_cluster=4),
        deadline=DEADLINE,
        env=esp.ENVIRONMENT,
    )
    chain = {f"EFI/BOOT/{name}": root.read(source) for name, source in esp.BOOT_CHAIN.items()}
    esp.fill(target, {**chain, "EFI/debian/grub.cfg": GRUB_CONFIG.read_bytes()})


def renew(directory: Path, built: Image) -> None:
    """Note in an image that the same content was built again: it is as new as that. Its payload stays as it is."""
    old = load_image(directory)
    text = old.model_copy(update={"created": built.created, "security": built.security}).model_dump_json(indent=1)
    draft = directory / f".{MANIFEST}.new"
    draft.write_text(text)
    draft.replace(directory / MANIFEST)


def _pack(recipe: Recipe, key: str, installed: dict[str, str], work: Path, tools: Toolbox, *, security: bool) -> Image:
    partitions = (
        ImagePartition(
            name=ESP,
            filesystem="vfat",
            type_guid=ESP_TYPE,
            size_bytes=(work / ESP).stat().st_size,
            uuid=f"{ESP_SERIAL[:4]}-{ESP_SERIAL[4:]}".upper(),
            label=ESP_LABEL,
        ),
        ImagePartition(
            name=ROOT,
            filesystem="ext4",
            type_guid=ROOT_TYPE,
            size_bytes=(work / ROOT).stat().st_size,
            uuid=ROOT_UUID,
            label=ROOT_LABEL,
        ),
    )
    content, sha256, extents = work / "content", hashlib.sha256(), []
    with content.open("wb") as out:
        for name in (ESP, ROOT):
            for extent, data in _extents(name, work / name, tools):
                extents.append(extent)
                sha256.update(data)
                out.write(data)
    payload = work / PAYLOAD
    process.run(["zstd", "-q", ZSTD_LEVEL, "-T0", "--check", content, "-o", payload], deadline=DEADLINE)
    with payload.open("rb") as file:
        payload_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    image = Image(
        digest=content_digest(partitions, tuple(extents), sha256.hexdigest()),
        created=datetime.now(UTC),
        suite=recipe.suite,
        inputs=key,
        packages=installed,
        partitions=partitions,
        extents=tuple(extents),
        digest_algorithm=DIGEST_ALGORITHM,
        content_bytes=content.stat().st_size,
        payload_bytes=payload.stat().st_size,
        payload_sha256=payload_sha256,
        security=security,
    )
    (work / MANIFEST).write_text(image.model_dump_json(indent=1))
    return image


def _extents(name: str, path: Path, tools: Toolbox) -> Iterator[tuple[Extent, bytes]]:
    with path.open("rb") as file:
        if name == ESP:
            spans = list(fat_spans(file))
        else:
            dumped = process.run(tools.argv("usr/sbin/dumpe2fs", path), deadline=DEADLINE)
            spans = list(ext4_spans(dumped.stdout))
        for offset, length in joined(spans):
            file.seek(offset)
            data = file.read(length)
            yield Extent(partition=name, offset=offset, length=length, digest=f"{zlib.crc32(data):08x}"), data


def _installed(root: RootArchive) -> dict[str, str]:
    """Package versions from dpkg's database."""
    status = root.read("var/lib/dpkg/status").decode()
    return dict(re.findall(r"^Package: (.+)\n(?:.+\n)*?Version: (.+)$", status, re.MULTILINE))


def _only_finished(work: Path) -> Path:
    for path in work.iterdir():
        if path.name not in (MANIFEST, PAYLOAD):
            path.unlink()
    return work


def _point(pointer: Path, target: Path) -> None:
    """Make a relative symlink, replacing an older one in one step."""
    pointer.parent.mkdir(exist_ok=True)
    draft = pointer.with_name(f".{pointer.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(Path("..") / target.name)
    draft.rename(pointer)
