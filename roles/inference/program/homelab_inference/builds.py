"""Builds of llama.cpp, each in a directory of its own that is whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from homelab_host import process, report, synced
from homelab_host.errors import Trouble

from .config import Build
from .download import download
from .flags import flags_of
from .places import Places, led_to, link
from .unpack import unpack

SERVER = "llama-server"
# In a build's directory: what it was made from.
NOTES = ".build.json"
DISTRO_SERVER, DISTRO_PACKAGE = Path("/usr/bin/llama-server"), "llama.cpp-tools"
COMPILE_SECONDS = 4 * 3600.0
CMAKE = ("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_INSTALL_RPATH=$ORIGIN", "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON")
CMAKE_FOR = {"vulkan": ["-DGGML_VULKAN=ON"], "rocm": ["-DGGML_HIP=ON"], "cpu": []}


def server_of(places: Places, name: str) -> Path:
    return places.builds / name / SERVER


def is_installed(build: Build, places: Places) -> bool:
    return _notes(places.builds / build.name) == _made_from(build) and server_of(places, build.name).exists()


def install(build: Build, backend: str, places: Places, check: bool = False) -> list[str]:
    """Make the build's directory if it is not there; returns what was (or would be) done."""
    if is_installed(build, places):
        return []
    folder = places.builds / build.name
    if folder.exists() and led_to(places.current) == build.name:
        raise Trouble(
            f"build {build.name} is being served, and was made from something else than what is declared now",
            "give the new one a name of its own (inference_build.name)",
        )
    if check:
        return [f"install build {build.name}"]
    report.step(f"install build {build.name} ({build.method})")
    new = places.builds / f".{build.name}.new"
    for left in (new, folder):
        shutil.rmtree(left, ignore_errors=True)
    places.builds.mkdir(parents=True, exist_ok=True)
    new.mkdir()
    new.chmod(0o755)
    try:
        _fill(build, backend, new, places)
        _point_to_server(new)
        version = flags_of(new / SERVER).version
        synced.write(new / NOTES, json.dumps(_made_from(build)), 0o644)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return [f"installed build {build.name} ({version})"]


def _fill(build: Build, backend: str, new: Path, places: Places) -> None:
    if build.archive is None:
        if not DISTRO_SERVER.exists():
            raise Trouble(
                f"there is no {DISTRO_SERVER}", f"install the package {DISTRO_PACKAGE}, which Debian has since forky"
            )
        (new / SERVER).symlink_to(DISTRO_SERVER)
        return
    archive = places.builds / f".{build.name}.tar"
    download(build.archive, archive)
    try:
        if build.method == "source":
            _compile(archive, backend, new)
        else:
            unpack(archive, new)
    finally:
        archive.unlink(missing_ok=True)
    _without_top_folder(new)


def _compile(archive: Path, backend: str, new: Path) -> None:
    """Into `new`, with the libraries beside the program, as upstream's own archives have them."""
    work = new.with_name(f"{new.name}.source")
    shutil.rmtree(work, ignore_errors=True)
    (work / "source").mkdir(parents=True)
    try:
        unpack(archive, work / "source")
        _without_top_folder(work / "source")
        source, made, processors = str(work / "source"), str(work / "made"), str(os.cpu_count() or 1)
        for words in (
            ["cmake", "-S", source, "-B", made, *CMAKE, *CMAKE_FOR[backend]],
            ["cmake", "--build", made, "--parallel", processors, "--target", SERVER, "llama-bench"],
        ):
            report.step(" ".join(words[:2]))
            done = process.run_within(words, seconds=COMPILE_SECONDS)
            if done.status:
                raise Trouble(f"llama.cpp could not be compiled for {backend}: {done.last_words}")
        shutil.copytree(work / "made" / "bin", new, symlinks=True, dirs_exist_ok=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _without_top_folder(folder: Path) -> None:
    """What lies in the only folder of an archive is brought up."""
    inside = list(folder.iterdir())
    if len(inside) != 1 or not inside[0].is_dir() or inside[0].is_symlink():
        return
    # Its name may be that of something in it.
    top = inside[0].rename(folder / ".top")
    for each in top.iterdir():
        each.rename(folder / each.name)
    top.rmdir()


def _point_to_server(folder: Path) -> None:
    """The server is found at the same place in each build."""
    if (folder / SERVER).exists():
        return
    found = sorted(path for path in folder.rglob(SERVER) if path.is_file())
    if len(found) != 1:
        raise Trouble(
            f"the archive has {len(found) or 'no'} `{SERVER}` in it", "is it one of llama.cpp's own, for this system?"
        )
    (folder / SERVER).symlink_to(found[0].relative_to(folder))


def installed(places: Places) -> list[str]:
    """Names of the builds that are here."""
    folders = places.builds.iterdir() if places.builds.is_dir() else ()
    return sorted(path.name for path in folders if path.is_dir() and not path.is_symlink() and (path / NOTES).is_file())


def purge(places: Places, declared: Build) -> list[str]:
    """Delete builds that are neither served, nor the one before, nor declared."""
    kept = {led_to(places.current), led_to(places.previous), declared.name}
    gone = [name for name in installed(places) if name not in kept]
    for name in gone:
        shutil.rmtree(places.builds / name)
    return [f"deleted build {name}" for name in gone]


def point(places: Places, name: str) -> None:
    """Let `current` lead to a build, and `previous` to the one that was served until now."""
    before = led_to(places.current)
    if before == name:
        return
    if before:
        link(places.previous, before)
    link(places.current, name)


def _made_from(build: Build) -> dict[str, str]:
    return {"method": build.method, "sha256": build.archive.sha256 if build.archive else ""}


def _notes(folder: Path) -> object:
    try:
        return json.loads((folder / NOTES).read_text())
    except (OSError, ValueError):
        return None
