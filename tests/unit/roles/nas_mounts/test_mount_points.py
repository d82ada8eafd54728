"""Mount points and shares one by one: what is mounted, who uses it, what lies beneath, and how it is let go."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.roles import modules

bare = modules.part("mountpoint", "nas_mounts")
nas_entries = modules.part("spec", "nas_mounts")
nas_units = modules.part("mount_units", "nas_mounts")
time_limits = modules.part("time_limits", "nas_mounts")

MOUNTINFO = """\
29 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
80 29 0:74 / /mnt/a\\040b rw,relatime shared:9 master:2 - autofs systemd-1 rw,fd=34
173 80 0:97 / /mnt/a\\040b rw,relatime - nfs4 nas:/x rw,vers=4.2
"""


def test_mounts_are_read_without_touching_them() -> None:
    assert bare.mounted(MOUNTINFO) == {"/": ["ext4"], "/mnt/a b": ["autofs", "nfs4"]}


@pytest.mark.parametrize("mounts", [{"/": ["ext4"]}, {"/mnt/x": ["autofs", "nfs4"]}, {"/srv": ["nfs4"], "/": ["ext4"]}])
def test_a_path_on_a_disk_is_fine(mounts: dict[str, list[str]]) -> None:
    bare.refuse_remote_parent("/mnt/x", mounts)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A path for a mount point, on a file system that knows the attribute, as root."""
    path = tmp_path / "in" / "place"
    try:
        bare.guard(str(path))
    except (OSError, nas_entries.NasError) as error:
        pytest.skip(f"needs root and a disk: {error}")
    yield path
    bare.release(str(path))


@pytest.mark.negative
def test_not_even_root_writes_into_a_bare_mount_point(place: Path) -> None:
    assert bare.is_guarded(str(place))
    with pytest.raises(PermissionError):
        (place / "file").touch()
    with pytest.raises(PermissionError):
        place.rmdir()
    bare.guard(str(place))
    assert bare.is_guarded(str(place))
    bare.release(str(place))
    assert not place.exists()
    assert not bare.is_guarded(str(place))


@pytest.mark.negative
def test_files_beneath_a_mount_are_never_hidden(place: Path) -> None:
    bare.release(str(place))
    place.mkdir()
    (place / "precious").touch()
    with pytest.raises(nas_entries.NasError, match=r"has files of its own.*precious"):
        bare.is_guarded(str(place))
    bare.release(str(place))
    assert (place / "precious").exists()


@pytest.mark.negative
def test_a_file_or_a_link_is_no_mount_point(place: Path) -> None:
    file, link = place.parent / "file", place.parent / "link"
    file.touch()
    link.symlink_to(place)
    for path in (file, link):
        with pytest.raises(nas_entries.NasError, match="is no directory"):
            bare.is_guarded(str(path))
    through = place.parent.parent / "through"
    through.symlink_to(place.parent)
    with pytest.raises(nas_entries.NasError, match="leads through a symbolic link"):
        bare.is_guarded(str(through / "place"))


def test_servers_are_asked_all_at_once_and_none_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_port = server.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as other:
            closed_port = other.getsockname()[1]
        asked = {("127.0.0.1", open_port), ("127.0.0.1", closed_port)}
        assert time_limits.probe(asked) == {("127.0.0.1", open_port): True, ("127.0.0.1", closed_port): False}
    assert time_limits.probe(set()) == {}


def test_a_share_is_let_go_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    layers, ran = ["autofs", "nfs4", "nfs4"], []

    def umount(argv: list[str], _seconds: float) -> None:
        ran.append(argv)
        layers.pop()

    monkeypatch.setattr(bare, "mounts_now", lambda: {"/mnt/x": list(layers)})
    monkeypatch.setattr(time_limits, "run", umount)
    assert nas_units.let_go("/mnt/x", answers=True) is None
    assert layers == ["autofs"], "the automount is systemd's to take away"
    assert ran == [["umount", "--no-canonicalize", "/mnt/x"]] * 2
    assert nas_units.let_go("/mnt/x", answers=True) is None
    assert len(ran) == 2


@pytest.mark.negative
def test_only_a_dead_share_is_pulled_away(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(bare, "mounts_now", lambda: {"/mnt/x": ["autofs", "nfs4"]})
    monkeypatch.setattr(time_limits, "run", lambda argv, _seconds: ran.append(argv))
    monkeypatch.setattr(nas_units, "users", lambda path: ["sleep (7)"])
    assert nas_units.let_go("/mnt/x", answers=True) == "/mnt/x is in use by sleep (7)"
    assert "--lazy" not in ran[0]
    nas_units.let_go("/mnt/x", answers=False)
    assert "--lazy" in ran[1]


def test_who_uses_a_share_is_told_by_the_kernel(tmp_path: Path) -> None:
    file = tmp_path / "open"
    with file.open("w"):
        assert any(told.endswith(f"({os.getpid()})") for told in nas_units.users(str(tmp_path)))
    assert nas_units.users(f"{tmp_path}-not") == []


@pytest.mark.processes
def test_a_program_that_never_ends_is_left_behind() -> None:
    started = time.monotonic()
    time_limits.run(["sleep", "60"], 0.2)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("unit", "wants"),
    [
        ({"LoadState": "loaded", "NeedDaemonReload": "no"}, False),
        ({"LoadState": "loaded", "NeedDaemonReload": "yes"}, True),
        ({"LoadState": "not-found", "NeedDaemonReload": "no"}, True),
    ],
)
def test_systemd_is_told_when_it_has_not_read_what_is_written(unit: dict[str, str], wants: bool) -> None:
    assert nas_units.unheeded({"mnt-x.mount": unit}) is wants


def test_systemd_is_asked_once_for_all() -> None:
    asked = []

    def run_command(argv: list[str], check_rc: bool) -> tuple[int, str, str]:
        asked.append(argv)
        return 0, "Id=a\nActiveState=active\n\nId=b\nActiveState=failed", ""

    seen = nas_units.look(SimpleNamespace(run_command=run_command), ["/mnt/x"])
    assert seen["mnt-x.automount"]["ActiveState"] == "active"
    assert seen["mnt-x.mount"]["ActiveState"] == "failed"
    assert len(asked) == 1
    assert nas_units.look(SimpleNamespace(run_command=None), []) == {}
