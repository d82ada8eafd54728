"""`unpack`: the identity's files go into the new root, and nowhere else."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType

import pytest

from homelab_provision.identity.seed import File, archive

FILES = {"etc/hostname": File("db-wyse\n"), "etc/ssh/ssh_host_ed25519_key": File("SECRET", 0o600)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of an image, as far as it matters here."""
    (tmp_path / "root/etc/ssh").mkdir(parents=True)
    (tmp_path / "root/etc/hostname").write_text("image\n")
    return tmp_path / "root"


def unpack(writer: ModuleType, root: Path, files: dict[str, File] | None = None) -> None:
    writer.unpack(io.BytesIO(archive(files or FILES)), root)


def test_files_stand_in_their_places_with_their_modes(writer: ModuleType, root: Path) -> None:
    unpack(writer, root)
    assert (root / "etc/hostname").read_text() == "db-wyse\n"
    key = root / "etc/ssh/ssh_host_ed25519_key"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("SECRET", 0o600)


def test_folders_that_the_image_lacks_are_made(writer: ModuleType, root: Path) -> None:
    unpack(writer, root, {"root/.ssh/authorized_keys": File("ssh-ed25519 AAAA\n", 0o600)})
    assert (root / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert (root / "root/.ssh").stat().st_mode & 0o777 == 0o700


@pytest.mark.negative
@pytest.mark.parametrize("absolute", [True, False], ids=["absolute", "relative"])
def test_a_link_of_the_image_is_replaced_and_not_followed(writer: ModuleType, root: Path, absolute: bool) -> None:
    outside = root.parent / "resolv.conf"
    outside.write_text("of the rescue\n")
    link = root / "etc/resolv.conf"
    link.symlink_to(outside if absolute else "../../resolv.conf")
    unpack(writer, root, {"etc/resolv.conf": File("nameserver 192.168.50.1\n")})
    assert outside.read_text() == "of the rescue\n"
    assert not link.is_symlink()
    assert link.read_text() == "nameserver 192.168.50.1\n"


def test_a_link_that_leads_nowhere_is_replaced(writer: ModuleType, root: Path) -> None:
    (root / "etc/resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
    unpack(writer, root, {"etc/resolv.conf": File("nameserver 192.168.50.1\n")})
    assert (root / "etc/resolv.conf").read_text() == "nameserver 192.168.50.1\n"


@pytest.mark.negative
def test_a_folder_that_leads_out_of_the_root_is_refused(writer: ModuleType, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "etc/ssh").rmdir()
    (root / "etc/ssh").symlink_to(outside)
    with pytest.raises(writer.GiveUp, match="etc/ssh"):
        unpack(writer, root)
    assert list(outside.iterdir()) == []


def test_a_folder_that_is_a_link_within_the_root_is_followed(writer: ModuleType, root: Path) -> None:
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    unpack(writer, root, {"lib/x.conf": File("x")})
    assert (root / "usr/lib/x.conf").read_text() == "x"
