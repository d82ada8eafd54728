"""Build the rescue system: Debian's kernel and an initramfs with SSH, Python and disk tools, and nothing else.

It is assembled file by file from unpacked packages (no chroot, no `depmod`), holds no secret, and is the same for
every site; keys come in a second initramfs (`medium.personalisation`).
"""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.doors import process
from homelab_provision.events import Emit, step
from homelab_provision.image import cache as shelf
from homelab_provision.image import cpio, elf, kernel_modules
from homelab_provision.image.cache import PACKAGE
from homelab_provision.image.esp import BOOT_CHAIN, NET_LOADER
from homelab_provision.image.firmware import FIRMWARE
from homelab_provision.image.image import SHORT
from homelab_provision.image.mirror import find_mirror
from homelab_provision.image.mmdebstrap import BuildError, fetch_root, mmdebstrap_argv
from homelab_provision.image.rescue_contents import (
    LIBRARIES,
    LIBRARY_DIRECTORY,
    LOADER,
    MODULES,
    PACKAGES,
    PROGRAMS,
    PYTHON_EXTENSIONS,
    PYTHON_MODULES,
)
from homelab_provision.image.root_archive import RootArchive
from homelab_provision.paths import folders_above

SUITE = "trixie"
FILES = PACKAGE / "rescue_files"
RECIPE_MODULES = ("rescue", "rescue_contents", "cpio", "elf", "esp", "kernel_modules", "mmdebstrap")
RECIPE = (FILES, *(PACKAGE / f"{name}.py" for name in RECIPE_MODULES))
COMPRESS_DEADLINE = 300.0
COMPILE_DEADLINE = 120.0


@dataclass(frozen=True)
class Rescue:
    """A built rescue system: `release` is what `/etc/rescue/release` says in it."""

    directory: Path
    digest: str

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "rescue.img"

    @property
    def boot_chain(self) -> list[Path]:
        """What lies in `EFI/BOOT` under the same names."""
        return [self.directory / name for name in BOOT_CHAIN]

    @property
    def release(self) -> str:
        return (self.directory / "release").read_text().strip()


def rescue_key() -> str:
    return shelf.inputs_digest([SUITE, *PACKAGES], RECIPE)


def build_rescue(cache: Path, emit: Emit, *, mirror: str | None = None) -> Rescue:
    """The rescue system, built (about half a minute) unless it stands in the cache already."""
    key = rescue_key()

    def build(work: Path) -> None:
        root = work / "root.tar"
        with step(emit, "rescue/packages"):
            fetch_root(mmdebstrap_argv(SUITE, root, PACKAGES, variant="extract", mirror=find_mirror(mirror)))
        with step(emit, "rescue/initramfs"), RootArchive(root) as archive:
            _assemble(archive, work, key)
        root.unlink()

    return Rescue(shelf.once(cache / "rescue", key, build), key)


def _assemble(root: RootArchive, work: Path, key: str) -> None:
    kernel = root.first("boot/vmlinuz-*")
    version = kernel.removeprefix("boot/vmlinuz-")
    for target, source in {"vmlinuz": kernel, **BOOT_CHAIN, **NET_LOADER}.items():
        (work / target).write_bytes(root.read(source))
    release = f"homelab-provision rescue {key[:SHORT]} linux {version}"
    (work / "release").write_text(release + "\n")
    unpacked = work / "rescue.cpio"
    with unpacked.open("wb") as file:
        file.writelines(cpio.archive(_with_directories(_entries(root, work, version, release))))
    process.run(["zstd", "-q", "-19", "--rm", "-T0", unpacked, "-o", work / "rescue.img"], deadline=COMPRESS_DEADLINE)


def _entries(root: RootArchive, work: Path, version: str, release: str) -> Iterator[cpio.Entry]:
    yield from _skeleton(root)
    yield from _programs(root)
    yield from _python(root, work)
    yield from _modules(root, version)
    yield cpio.regular("init", (FILES / "init").read_bytes(), 0o755)
    yield cpio.regular("etc/rescue/dhcp", (FILES / "dhcp").read_bytes(), 0o755)
    yield cpio.regular("etc/rescue/release", f"{release}\n".encode())
    yield cpio.regular("etc/ssh/sshd_config", (FILES / "sshd_config").read_bytes())
    yield cpio.regular("etc/ssh/sshrc", (FILES / "sshrc").read_bytes())


def _skeleton(root: RootArchive) -> Iterator[cpio.Entry]:
    for name in ("bin", "sbin", "lib", "lib64"):
        yield cpio.symlink(name, f"usr/{name}")
    yield cpio.directory("root", 0o700)
    yield cpio.directory("tmp", 0o1777)
    yield from (cpio.directory(name) for name in ("dev", "proc", "sys", "run", "mnt", "var"))
    yield cpio.symlink("var/run", "/run")
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.character_device("dev/null", 1, 3, 0o666)
    # `*` is no password that matches, and not `!`, which sshd takes for a locked account.
    yield cpio.regular("etc/passwd", b"root:*:0:0:root:/root:/bin/sh\nsshd:*:100:65534::/run/sshd:/bin/false\n")
    yield cpio.regular("etc/group", b"root:x:0:\ntty:x:5:\ndisk:x:6:\nnogroup:x:65534:\n")
    yield cpio.regular("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    yield cpio.regular("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 rescue\n")
    yield cpio.symlink("etc/mtab", "/proc/mounts")


def _programs(root: RootArchive) -> Iterator[cpio.Entry]:
    """Programs, and every library that they need."""
    for name in PROGRAMS:
        yield cpio.regular(name, root.read(name), 0o755)
    extensions = [root.first(name) for name in PYTHON_EXTENSIONS]
    for name, data in sorted(_libraries(root, [*PROGRAMS, *extensions], LIBRARIES).items()):
        yield cpio.regular(name, data)
    yield cpio.regular(LOADER, root.read(LOADER), 0o755)
    yield cpio.symlink("usr/bin/sh", "busybox")
    yield cpio.symlink("usr/sbin/modprobe", "../bin/busybox")


def _libraries(root: RootArchive, programs: Iterable[str], extra: Iterable[str] = ()) -> dict[str, bytes]:
    """The shared libraries that programs need, directly or not, by file name."""
    found: dict[str, bytes] = {}
    queue = [*extra, *(library for name in programs for library in elf.needed(root.read(name)))]
    while queue:
        name = f"{LIBRARY_DIRECTORY}/{queue.pop()}"
        if name in found or name.endswith(posixpath.basename(LOADER)):
            continue
        found[name] = root.read(name)
        queue += elf.needed(found[name])
    return found


def _python(root: RootArchive, work: Path) -> Iterator[cpio.Entry]:
    """The interpreter's link, and the part of its library that our scripts import, as bytecode beside its source."""
    interpreter = posixpath.basename(root.resolve("usr/bin/python3"))
    yield cpio.symlink("usr/bin/python3", interpreter)
    library = f"usr/lib/{interpreter}"
    modules = {name: _module(name.removeprefix(f"{library}/")) for name in sorted(root.names(f"{library}/*.py"))}
    sources = [name for name, module in modules.items() if module in PYTHON_MODULES]
    if unknown := sorted(set(PYTHON_MODULES) - set(modules.values())):
        raise BuildError(f"this Python has no module {', '.join(unknown)}", hint="see rescue_contents.py")
    for name in sources:
        yield cpio.regular(name, root.read(name))
    for extension in PYTHON_EXTENSIONS:
        name = root.first(extension)
        yield cpio.regular(name, root.read(name))
    yield from _bytecode(root, work / "python", interpreter, sources)


def _module(path: str) -> str:
    """`json/decoder.py` belongs to `json`; of `encodings` every module is named by itself."""
    package, _, rest = path.removesuffix(".py").partition("/")
    return f"{package}/{rest}" if f"{package}/__init__" in PYTHON_MODULES else package


def _bytecode(root: RootArchive, work: Path, interpreter: str, sources: Iterable[str]) -> Iterator[cpio.Entry]:
    """Bytecode made by that very Python, run here through its own loader: compiling in the machine costs seconds."""
    wanted = [*root.names(f"usr/lib/{interpreter}/*.py"), f"usr/bin/{interpreter}", LOADER]
    libraries = _libraries(root, [f"usr/bin/{interpreter}"])
    for name, data in [*((name, root.read(name)) for name in wanted), *libraries.items()]:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(data)
        (work / name).chmod(0o755)
    process.run(
        [work / LOADER, "--library-path", work / LIBRARY_DIRECTORY, work / "usr/bin" / interpreter, "-m", "compileall",
         "-q", "--invalidation-mode", "unchecked-hash", "-s", work, "-p", "/", *(work / name for name in sources)],
        deadline=COMPILE_DEADLINE, env={"PYTHONHOME": str(work / "usr"), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    for bytecode in sorted(work.rglob("*.pyc")):
        yield cpio.regular(str(bytecode.relative_to(work)), bytecode.read_bytes())
    shutil.rmtree(work)


def _modules(root: RootArchive, version: str) -> Iterator[cpio.Entry]:
    """The drivers, unpacked (the archive as a whole is compressed), the firmware that they name, and what `modprobe`
    reads to find them."""
    base = f"usr/lib/modules/{version}"
    paths = {
        kernel_modules.canonical(re.sub(r"\.ko(\.xz)?$", "", posixpath.basename(name))): name.removeprefix(f"{base}/")
        for name in root.names(f"{base}/kernel/*.ko*")
    }
    kernel = kernel_modules.built_in(root.read(f"{base}/modules.builtin").decode())
    chosen = kernel_modules.closure(MODULES, paths, lambda path: root.read(f"{base}/{path}"), kernel)
    for module in chosen:
        yield cpio.regular(f"{base}/{module.path}", module.data)
    for file in sorted({f"{FIRMWARE}/{name}" for module in chosen for name in module.firmware}):
        yield cpio.regular(file, root.read(file))
    yield cpio.regular(f"{base}/modules.dep", kernel_modules.modules_dep(chosen).encode())
    yield cpio.regular(f"{base}/modules.alias", kernel_modules.modules_alias(chosen).encode())
    yield cpio.regular(f"{base}/modules.symbols", b"")


def _with_directories(entries: Iterable[cpio.Entry]) -> Iterator[cpio.Entry]:
    """The entries, each directory named before what lies in it, as the kernel's unpacker wants it."""
    seen: set[str] = set()
    for entry in entries:
        for name in folders_above([entry.name]):
            if name not in seen:
                seen.add(name)
                yield cpio.directory(name)
        if entry.name not in seen:
            seen.add(entry.name)
            yield entry
