"""What another account lays in root's way is not followed: real links, in directories that belong to a service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import modules

files = modules.part("files")
SERVICE = 65534  # `nobody`, the account that every Debian has

pytestmark = [
    pytest.mark.processes,
    pytest.mark.negative,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to others"),
]


@pytest.fixture(autouse=True)
def pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PENDING", tmp_path / "run" / "pending.json")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory of root's that nobody else shall get, as /etc is."""
    folder = tmp_path / "victim"
    folder.mkdir(mode=0o755)
    (folder / "shadow").write_text("secret")
    (folder / "shadow").chmod(0o600)
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory of the service's, in which a role manages things."""
    folder = tmp_path / "service"
    folder.mkdir()
    os.chown(folder, SERVICE, SERVICE)
    return folder


def lay(link: Path, target: Path, owner: int = SERVICE) -> None:
    link.symlink_to(target)
    os.chown(link, owner, owner, follow_symlinks=False)


def state(folder: Path) -> list[tuple[str, int, int, bytes]]:
    """Everything that could have been changed."""
    return [
        (str(path), path.lstat().st_uid, path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *sorted(folder.rglob("*"))]
    ]


def play(tmp_path: Path, capsys: Any, *entries: dict[str, Any], check: bool = False) -> dict[str, Any]:
    told = [{"owner": "nobody", "group": "nogroup", "mode": "0700", **entry} for entry in entries]
    return modules.play({"files": told}, tmp_path, capsys, check=check)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("below", ["", "/data", "/a/b/c"])
def test_a_link_in_the_place_of_a_directory(
    own: Path, victim: Path, tmp_path: Path, capsys: Any, below: str, check: bool
) -> None:
    lay(own / "17", victim)
    before = state(victim)
    told = play(tmp_path, capsys, {"path": f"{own}/17{below}", "state": "directory"}, check=check)
    assert told["failed"]
    assert "nothing was followed or changed" in told["msg"]
    assert str(victim) in told["msg"]
    assert state(victim) == before


@pytest.mark.parametrize("given", [{"content": "x"}, {"link": "/etc/passwd"}, {"merge": {"a": 1}}, {"state": "absent"}])
def test_a_link_on_the_way_to_a_file(
    own: Path, victim: Path, tmp_path: Path, capsys: Any, given: dict[str, Any]
) -> None:
    lay(own / "conf", victim)
    before = state(victim)
    told = play(tmp_path, capsys, {"path": f"{own}/conf/shadow", **given})
    assert told["failed"]
    assert "which belongs to nobody" in told["msg"]
    assert state(victim) == before


def test_a_link_in_the_place_of_a_file_is_replaced_itself(own: Path, victim: Path, tmp_path: Path, capsys: Any) -> None:
    lay(own / "conf", victim / "shadow")
    before = state(victim)
    assert not play(tmp_path, capsys, {"path": f"{own}/conf", "content": "x", "mode": "0640"}).get("failed")
    assert not (own / "conf").is_symlink()
    assert ((own / "conf").read_text(), (own / "conf").stat().st_uid) == ("x", SERVICE)
    assert state(victim) == before


def test_a_hard_link_in_the_place_of_a_file_gives_nothing_away(
    own: Path, victim: Path, tmp_path: Path, capsys: Any
) -> None:
    (own / "conf").hardlink_to(victim / "shadow")
    before = state(victim)
    assert not play(tmp_path, capsys, {"path": f"{own}/conf", "content": "secret", "mode": "0640"}).get("failed")
    assert state(victim) == before
    assert (own / "conf").stat().st_ino != (victim / "shadow").stat().st_ino


def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(own: Path, tmp_path: Path, capsys: Any) -> None:
    os.mkfifo(own / "conf")
    told = play(tmp_path, capsys, {"path": f"{own}/conf", "content": "x"})
    assert told["failed"]
    assert "neither a file nor a link nor a directory" in told["msg"]


def test_what_is_left_of_an_unfinished_file_is_not_followed_either(
    own: Path, victim: Path, tmp_path: Path, capsys: Any
) -> None:
    lay(own / "conf.homelab-provision-new", victim / "shadow")
    before = state(victim)
    assert not play(tmp_path, capsys, {"path": f"{own}/conf", "content": "x"}).get("failed")
    assert (own / "conf").read_text() == "x"
    assert state(victim) == before


def test_links_of_roots_own_are_ways_like_any_other(victim: Path, tmp_path: Path, capsys: Any) -> None:
    """As /var/run and /bin are."""
    (tmp_path / "roots").mkdir()
    lay(tmp_path / "roots" / "way", Path("../victim"), owner=0)
    told = play(tmp_path, capsys, {"path": f"{tmp_path}/roots/way/new", "content": "x"})
    assert not told.get("failed")
    assert (victim / "new").read_text() == "x"


@pytest.mark.parametrize(("mode", "followed"), [(0o1777, True), (0o777, False), (0o775, False)])
def test_a_link_of_roots_counts_only_where_nobody_can_move_it(
    victim: Path, tmp_path: Path, capsys: Any, mode: int, followed: bool
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    lay(tmp_path / "open" / "way", victim, owner=0)
    told = play(tmp_path, capsys, {"path": f"{tmp_path}/open/way/new", "content": "x"})
    assert told.get("failed", False) is not followed
    assert (victim / "new").exists() is followed


def test_links_in_a_circle_end(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "roots").mkdir()
    lay(tmp_path / "roots" / "a", tmp_path / "roots" / "b", owner=0)
    lay(tmp_path / "roots" / "b", tmp_path / "roots" / "a", owner=0)
    told = play(tmp_path, capsys, {"path": f"{tmp_path}/roots/a/new", "content": "x"})
    assert told["failed"]
    assert "Too many levels of symbolic links" in told["msg"]
