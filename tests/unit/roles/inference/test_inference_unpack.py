"""An archive stays in its folder, whatever its names and links say."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs
from tests.unit.roles.inference.conftest import CAREFUL

unpack = programs.inference("unpack").unpack
Trouble = programs.inference("errors").Trouble
LINK, HARD, DEVICE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE


def packed(folder: Path, *members: tuple[str, bytes, str]) -> Path:
    """A tar of members: name, type, and what is in them or where they lead."""
    archive = folder / "made.tar"
    with tarfile.open(archive, "w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid = kind, 0o6755, 1000
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
            else:
                member.linkname = content
                tar.addfile(member)
    return archive


def file(name: str, content: str = "x") -> tuple[str, bytes, str]:
    return name, tarfile.REGTYPE, content


@pytest.mark.negative
@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([file("/etc/cron.d/x")], "'/etc/cron.d/x', which leads out"),
        ([file("a/../../x")], "leads out of its folder"),
        ([("a", LINK, "/etc")], "'a' leads to /etc"),
        ([("a/b", LINK, "../../x")], "leads to ../../x"),
        ([("a", LINK, "b/../../x")], "leads to b/../../x"),
        ([("a", LINK, "b"), file("a/x")], "'a/x' lies behind a link"),
        ([file("a/x"), ("a", LINK, "b")], "'a/x' lies behind a link"),
        ([("a", HARD, "../x")], "'../x', which leads out"),
        ([("a", HARD, "/etc/shadow")], "'/etc/shadow', which leads out"),
        ([("a", DEVICE, "")], "neither file, folder nor link"),
    ],
)
def test_what_leads_out_is_refused_before_anything_is_written(tmp_path: Path, members: Any, said: str) -> None:
    (tmp_path / "to").mkdir()
    with pytest.raises(Trouble, match=said):
        unpack(packed(tmp_path, file("first"), *members), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []
    assert not (tmp_path / "x").exists()


@CAREFUL
def test_a_build_is_unpacked_as_root_would_install_it(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    members = [file("llama-b1/libggml.so.0.1"), ("llama-b1/libggml.so", LINK, "libggml.so.0.1"), file("llama-b1/sub/x")]
    unpack(packed(tmp_path, *members, ("llama-b1/sub/up", LINK, "../libggml.so")), tmp_path / "to")
    laid = tmp_path / "to" / "llama-b1"
    assert (laid / "sub" / "up").resolve() == laid / "libggml.so.0.1"
    assert oct((laid / "libggml.so.0.1").stat().st_mode & 0o7777) == "0o755"


@pytest.mark.negative
def test_half_an_archive_is_none(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    archive = packed(tmp_path, file("a", "x" * 100_000))
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(Trouble, match=r"made.tar cannot be unpacked"):
        unpack(archive, tmp_path / "to")
