"""Builds by each way: an archive whose programs lie anywhere in it, source that is compiled, and Debian's own."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs
from tests.unit.roles.inference import stand_in_server
from tests.unit.roles.inference.conftest import CAREFUL, Release, sha256

builds, config, process = programs.inference("builds"), programs.inference("config"), programs.library("process")
Trouble = programs.inference("errors").Trouble
pytestmark = pytest.mark.processes


def build_of(archive: Path, method: str = "release", name: str = "b1", digest: str = "") -> Any:
    file = config.File(f"{name}.tar", str(archive), digest or sha256(archive.read_bytes()))
    return config.Build(name, method, file)


def packed(tmp_path: Path, *names: str) -> Path:
    """An archive that has the program under these names."""
    stand_in_server.lay(tmp_path / "made", 1)
    archive = tmp_path / "made.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in names:
            tar.add(tmp_path / "made" / "llama-server", name)
        tar.addfile(tarfile.TarInfo("README"), io.BytesIO())
    return archive


@CAREFUL
@pytest.mark.parametrize("name", ["llama-server", "build/bin/llama-server", "llama-b1/llama-server"])
def test_the_program_is_found_wherever_the_archive_has_it(tmp_path: Path, places: Any, name: str) -> None:
    builds.install(build_of(packed(tmp_path, name)), "cpu", places)
    found = programs.inference("flags").flags_of(builds.server_of(places, "b1"))
    assert found.version == "0.7.0 (build 1, commit stand-in)"
    assert builds.installed(places) == ["b1"]
    assert [path.name for path in places.builds.iterdir()] == ["b1"], "the archive, and what was begun, are gone"


@CAREFUL
@pytest.mark.negative
@pytest.mark.parametrize(
    ("names", "said"), [((), "has no `llama-server`"), (("a/llama-server", "b/llama-server"), "has 2")]
)
def test_an_archive_without_the_one_program_is_none(
    tmp_path: Path, places: Any, names: tuple[str, ...], said: str
) -> None:
    with pytest.raises(Trouble, match=said):
        builds.install(build_of(packed(tmp_path, *names)), "cpu", places)
    assert list(places.builds.iterdir()) == []


@pytest.mark.negative
def test_an_archive_with_another_digest_is_not_unpacked(tmp_path: Path, places: Any) -> None:
    archive = packed(tmp_path, "llama-server")
    with pytest.raises(Trouble, match="has not the SHA-256 0000"):
        builds.install(build_of(archive, digest="0" * 64), "cpu", places)
    assert builds.installed(places) == []


@CAREFUL
def test_source_is_compiled_for_what_computes(
    tmp_path: Path, places: Any, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its compiler is left out: that takes half an hour."""
    asked: list[list[str]] = []

    def run(argv: list[Any], *, seconds: float) -> Any:
        if argv[0] != "cmake":
            return real(argv, seconds=seconds)
        asked.append(argv)
        if "--build" in argv:
            stand_in_server.lay(Path(argv[2]) / "bin", 1)
        return process.Finished(0, "", "")

    real = process.run_within
    monkeypatch.setattr(process, "run_within", run)
    builds.install(build_of(Path(release(1)["source"]), "source"), "vulkan", places)
    assert "-DGGML_VULKAN=ON" in asked[0]
    assert "llama-server" in asked[1]
    assert builds.server_of(places, "b1").exists()


def test_debians_own_is_a_build_like_others(tmp_path: Path, places: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    build = config.Build("debian", "distro", None)
    monkeypatch.setattr(builds, "DISTRO_SERVER", tmp_path / "usr" / "llama-server")
    with pytest.raises(Trouble, match=r"there is no .*/llama-server"):
        builds.install(build, "cpu", places)
    stand_in_server.lay(tmp_path / "usr", 1)
    assert builds.install(build, "cpu", places) == ["installed build debian (0.7.0 (build 1, commit stand-in))"]
    assert builds.server_of(places, "debian").resolve() == tmp_path / "usr" / "llama-server"
