"""What the program for shares reads, counts and keeps; what it does to disks is tried by molecule and in the lab."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths

FILE = paths.content("roles") / "nfs_server/program/homelab_shares.py"
NOW = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def shares() -> Any:
    spec = importlib.util.spec_from_file_location("homelab_shares", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def listed(folder: Path, document: object) -> Path:
    file = folder / "shares.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 0), ("200 GB", 200 * 10**9), ("1.5 TiB", 3 * 2**39), ("7", 7), ("14GiB", 14 * 2**30), ("3 kB", 3000)],
)
def test_sizes_mean_what_they_mean_elsewhere(shares: Any, text: str, number: int) -> None:
    assert shares.size(text) == number


@pytest.mark.negative
@pytest.mark.parametrize("text", ["200G", "much", "-1 GB", "1e3", "200 GB more"])
def test_what_could_mean_two_things_is_no_size(shares: Any, text: str) -> None:
    with pytest.raises(shares.Trouble, match="is no size such as 200 GB"):
        shares.size(text)


def test_a_list_as_the_role_writes_it(shares: Any, tmp_path: Path) -> None:
    told = [{"path": "/srv/backup/db-wyse", "size": "5 GB", "snapshots": 7, "clients": []}, {"path": "/srv/media"}]
    first, second = shares.load(listed(tmp_path, told))
    assert (first.limit, first.days, second.limit, second.days) == (5 * 10**9, 7, 0, 0)
    assert first.snapshots == Path("/srv/snapshots/backup/db-wyse")
    # The file system remembers the number: it has to stay the same from one version to the next.
    assert (first.project, second.project) == (958618361, 801856823)


@pytest.mark.negative
@pytest.mark.parametrize("document", ["{", [1], [{}], "null", [{"path": "/srv/x", "snapshots": "many"}]])
def test_a_list_that_cannot_be_understood_is_named(shares: Any, tmp_path: Path, document: object) -> None:
    with pytest.raises(shares.Trouble, match=r"shares\.json cannot be understood"):
        shares.load(listed(tmp_path, document))


@pytest.mark.negative
def test_two_shares_are_never_counted_as_one(shares: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares.zlib, "crc32", lambda data: 5)
    with pytest.raises(shares.Trouble, match="would be counted together"):
        shares.load(listed(tmp_path, [{"path": "/srv/a"}, {"path": "/srv/b"}]))


@pytest.mark.parametrize(
    ("ages", "days", "gone"),
    [
        ([3, 2, 1, 0], 7, []),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 7, [9, 8]),  # the one of exactly seven days ago stays
        ([400, 300, 200], 7, []),  # the NAS was off for a year: what there is, stays
        ([400, 300, 200, 0], 2, [400, 300]),
        ([0, -3650], 2, []),  # a clock that is wrong by ten years
    ],
)
def test_what_is_too_old(
    shares: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ages: list[int], days: int, gone: list[int]
) -> None:
    monkeypatch.setattr(shares, "SNAPSHOTS", tmp_path)
    share = shares.Share(Path("/srv/x"), 0, days)
    for age in ages:
        (share.snapshots / (NOW - timedelta(days=age)).strftime(shares.STAMP)).mkdir(parents=True)
    (share.snapshots / ".new").mkdir()
    (share.snapshots / "below").mkdir()  # where the copies of a share within this one lie
    assert shares.expired(share, NOW) == [
        share.snapshots / (NOW - timedelta(days=age)).strftime(shares.STAMP) for age in gone
    ]
