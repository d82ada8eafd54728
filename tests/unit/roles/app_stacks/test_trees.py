"""Trees that others have made: no link in them is followed, and an exchange leaves no moment in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.roles.programs import library, stacks

trees = stacks("trees")
Trouble = library("errors").Trouble


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("1234")
    return folder


def tree(base: Path, outside: Path) -> Path:
    (base / "data/sub").mkdir(parents=True)
    (base / "data/one").write_text("one")
    os.link(base / "data/one", base / "data/sub/again")
    (base / "data/link").symlink_to(outside)
    os.mkfifo(base / "data/pipe")
    return base


def test_files_are_counted_as_restic_does(tmp_path: Path, outside: Path) -> None:
    base = tree(tmp_path / "x", outside)
    assert trees.count(base) == (2, 6)
    assert trees.count(base / "data/one") == (1, 3)
    assert trees.count(base / "data/link") == (0, 0)
    assert trees.count(base / "nothing") == (0, 0)


@pytest.mark.negative
def test_what_a_link_leads_to_stays(tmp_path: Path, outside: Path) -> None:
    base = tree(tmp_path / "x", outside)
    trees.remove(base / "data/link")
    trees.remove(base)
    trees.remove(base)
    assert not base.exists()
    assert (outside / "precious").exists()


@pytest.mark.parametrize("path", ["data", "data/sub", "data/one"])
def test_an_exchange_goes_both_ways(tmp_path: Path, outside: Path, path: str) -> None:
    new, live = tree(tmp_path / "new", outside), tree(tmp_path / "live", outside)
    numbers = trees.identity(new, path), trees.identity(live, path)
    trees.exchange(new, live, path)
    assert (trees.identity(live, path), trees.identity(new, path)) == numbers


def test_what_is_not_there_yet_is_put_there(tmp_path: Path, outside: Path) -> None:
    new, live = tree(tmp_path / "new", outside), tmp_path / "live"
    live.mkdir()
    trees.exchange(new, live, "data/sub")
    assert (live / "data/sub/again").read_text() == "one"
    assert trees.identity(new, "data/sub") is None


@pytest.mark.negative
def test_a_link_in_place_of_the_data_is_replaced_itself(tmp_path: Path, outside: Path) -> None:
    new, live = tree(tmp_path / "new", outside), tmp_path / "live"
    live.mkdir()
    (live / "data").symlink_to(outside)
    trees.exchange(new, live, "data")
    assert not (live / "data").is_symlink()
    assert [path.name for path in outside.iterdir()] == ["precious"]


@pytest.mark.negative
def test_a_link_on_the_way_is_not_followed(tmp_path: Path, outside: Path) -> None:
    new, live = tree(tmp_path / "new", outside), tmp_path / "live"
    live.mkdir()
    (live / "data").symlink_to(outside)
    (outside / "sub").mkdir()
    assert trees.identity(live, "data/sub") is None
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        trees.exchange(new, live, "data/sub")
    assert not list((outside / "sub").iterdir())


@pytest.mark.negative
@pytest.mark.processes
def test_a_mount_is_not_replaced(tmp_path: Path, outside: Path) -> None:
    new, live = tree(tmp_path / "new", outside), tree(tmp_path / "live", outside)
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs none {live}/data") != 0:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(Trouble, match="cannot be replaced") as refused:
            trees.exchange(new, live, "data")
        assert "mount of its own" in refused.value.hint
    finally:
        os.system(f"umount {live}/data")
