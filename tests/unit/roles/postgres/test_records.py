"""Records, the files that a restore needs, and the choice of the backup for a time."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.roles.postgres.repository_output import (
    FULL,
    HISTORIES,
    INCR,
    SIZE,
    SYSTEM_ID,
    archive_listing,
    info,
)
from tests.unit.roles.programs import library, part

records = part("records")
files = library("records")
save = files.save
source = part("restore_plan")
told = part("pgbackrest_info")
Trouble = part("errors").Trouble


def record(label: str, finished: str, **more: Any) -> Any:
    values = {
        "host": "db-wyse",
        "label": label,
        "type": "full",
        "started": "2026-11-23T13:00:00Z",
        "finished": finished,
        "point": f"homelab-{label}",
        "lsn": "0/D0000A0",
        "timeline": 1,
        "system_id": str(SYSTEM_ID),
        "bytes": 1,
        "fingerprint": {"server_version": "17.6", "databases": {}},
    }
    return records.Record(**{**values, **more})


EARLY = record(FULL, "2026-11-23T13:41:33.7Z")
LATE = record(INCR, "2026-11-23T13:41:38.1Z", lsn="0/100000A0")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_a_record_survives_its_file() -> None:
    assert records.parse_record(records.render(EARLY), "x") == EARLY


def test_a_record_of_the_first_version_is_understood() -> None:
    written = json.loads(records.render(EARLY))
    written["facts"] = written.pop("fingerprint")
    assert records.parse_record(json.dumps(written), "x") == EARLY


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2}', json.dumps({**json.loads(records.render(EARLY)), "format": 2})],
)
def test_what_is_no_record_is_named(text: str) -> None:
    with pytest.raises(Trouble, match=r"^/mnt/backup/postgres/x\.json is no record"):
        records.parse_record(text, "/mnt/backup/postgres/x.json")


@pytest.fixture
def private() -> Iterator[None]:
    """The mask of the program, which keeps everything from everybody."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_records_are_written_whole_and_read_back(tmp_path: Path, private: None) -> None:
    folder = tmp_path / "postgres"
    save(folder, f"{LATE.label}.json", records.render(LATE))
    save(folder, f"{EARLY.label}.json", records.render(EARLY))
    save(folder, "proof.json", "{}")
    assert records.load_all(folder) == [EARLY, LATE]
    assert not list(folder.glob(".*"))
    assert (folder / f"{LATE.label}.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "name", [f"._{FULL}.json", f"{FULL}.sync-conflict-20261124-101010-ABC.json", f"{FULL} (1).json", "notes.json"]
)
def test_foreign_files_beside_the_records_are_passed_over(tmp_path: Path, name: str) -> None:
    save(tmp_path, f"{FULL}.json", records.render(EARLY))
    (tmp_path / name).write_bytes(b"\x00\x05\x16\x07 no record")
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / f"{INCR}.json").mkdir()
    assert records.load_all(tmp_path) == [EARLY]


def test_a_broken_record_that_a_newer_one_replaces_holds_nobody_up(tmp_path: Path) -> None:
    save(tmp_path, f"{FULL}.json", "{")
    save(tmp_path, f"{INCR}.json", records.render(LATE))
    assert records.load_all(tmp_path) == [LATE]


@pytest.mark.negative
@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, '{"fingerprint": {}}', '{"fingerprint": "' + "x" * (files.MOST_BYTES + 2)]
)
def test_a_broken_record_that_is_the_newest_is_named(tmp_path: Path, text: str) -> None:
    save(tmp_path, f"{FULL}.json", records.render(EARLY))
    save(tmp_path, f"{INCR}.json", text)
    with pytest.raises(Trouble, match=rf"{INCR}\.json is no record"):
        records.load_all(tmp_path)


@pytest.mark.negative
def test_only_the_record_that_was_judged_is_used(tmp_path: Path) -> None:
    save(tmp_path, f"{FULL}.json", records.render(EARLY))
    judged = {FULL: part("signing").digest(records.render(EARLY))}
    assert records.load_all(tmp_path, judged) == [EARLY]
    save(tmp_path, f"{FULL}.json", records.render(dataclasses.replace(EARLY, bytes=2)))
    with pytest.raises(Trouble, match="is not the record that was judged"):
        records.load_all(tmp_path, judged)


def test_no_records_are_no_error(tmp_path: Path) -> None:
    assert records.load_all(tmp_path / "nothing") == []


def test_records_go_with_their_backups_and_the_proof_stays(tmp_path: Path) -> None:
    for each in (EARLY, LATE):
        save(tmp_path, f"{each.label}.json", records.render(each))
    save(tmp_path, "proof.json", "{}")
    foreign = ["._x.json", f"{FULL}.sync-conflict-20261124.json", "notes.json"]
    for name in foreign:
        (tmp_path / name).write_text("somebody else's")
    records.drop_expired(tmp_path, [INCR], INCR)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{INCR}.json", "proof.json", *foreign])


@pytest.mark.negative
@pytest.mark.parametrize("labels", [[], [FULL]])
def test_nothing_is_dropped_on_the_word_of_a_list_that_lacks_what_was_just_made(
    tmp_path: Path, labels: list[str]
) -> None:
    for each in (EARLY, LATE):
        save(tmp_path, f"{each.label}.json", records.render(each))
    with pytest.raises(Trouble, match=f"does not list the backup {INCR}"):
        records.drop_expired(tmp_path, labels, INCR)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{FULL}.json", f"{INCR}.json"]


def needed(backup: str, lsn: str, timeline: int = 1) -> dict[str, int]:
    listed = [
        told.Listed(f"backup/main/{FULL}/bundle/1", 990, 0.0),
        told.Listed(f"backup/main/{INCR}/backup.manifest", 5, 0.0),
    ]
    archive = told.parse_listing(archive_listing(), "archive/main/17-1")
    found: dict[str, int] = records.needed_files(
        told.parse_info(info(), "main").find(backup), listed, archive, timeline, lsn, SIZE
    )
    return found


def test_a_restore_needs_the_backups_files_and_the_wal_up_to_its_point() -> None:
    files = needed(INCR, "0/100000A0")
    assert files[f"backup/main/{FULL}/bundle/1"] == 990
    names = [path.rsplit("/", 1)[1][:24] for path in files if path.startswith("archive/")]
    assert names == ["00000001000000000000000F", "000000010000000000000010"]


def test_a_point_on_a_boundary_does_not_need_the_next_segment() -> None:
    assert sum(path.startswith("archive/") for path in needed(INCR, "0/11000000")) == 2


def test_a_missing_segment_is_noticed_when_the_record_is_made() -> None:
    with pytest.raises(Trouble, match="000000010000000000000012 is not in the archive"):
        needed(INCR, "0/120000A0")


def test_a_later_timeline_needs_its_history() -> None:
    with pytest.raises(Trouble, match="00000002000000000000000F"):
        needed(INCR, "0/100000A0", timeline=2)


@pytest.mark.parametrize(
    ("label", "to", "chosen"),
    [
        (None, None, LATE),
        (None, "2026-11-23T13:41:38.1Z", LATE),
        (None, "2026-11-23T14:41:38.0+01:00", EARLY),
        (FULL, None, EARLY),
        (FULL, "2026-11-23T15:00:00Z", EARLY),
    ],
)
def test_the_newest_backup_before_the_time_is_chosen(label: str | None, to: str | None, chosen: Any) -> None:
    assert records.choose([EARLY, LATE], label, moment(to) if to else None) == chosen


def test_refuses_without_a_backup() -> None:
    with pytest.raises(Trouble, match="no backup with a record") as refused:
        records.choose([], None, None)
    assert "homelab-postgres backup --type full" in refused.value.hint


def test_refuses_a_label_that_is_not_there_and_tells_which_are() -> None:
    with pytest.raises(Trouble, match="no backup nope") as refused:
        records.choose([EARLY, LATE], "nope", None)
    assert refused.value.hint == f"there are: {FULL}, {INCR}"


@pytest.mark.parametrize(("label", "first"), [(None, FULL), (INCR, INCR)])
def test_refuses_a_time_before_the_first_backup(label: str | None, first: str) -> None:
    with pytest.raises(Trouble, match=f"the backup {first} was complete at"):
        records.choose([EARLY, LATE], label, moment("2026-11-23T13:41:33Z"))


class Repository:
    """A repository that answers from what a real one said."""

    class Setup:
        stanza = "main"

        def __init__(self, folder: Path) -> None:
            self.repository, self.records = folder / "pgbackrest", folder / "postgres"

    def __init__(self, folder: Path) -> None:
        self.setup = self.Setup(folder)

    def info(self) -> Any:
        return told.parse_info(info(), "main")

    def listing(self, folder: str) -> Any:
        return told.parse_listing(archive_listing(), folder)

    def read(self, path: str) -> str:
        return HISTORIES[int(path.rsplit("/", 1)[1][:8], 16)]


def select(folder: Path, to: str | None, label: str | None = None, late: Any = LATE) -> Any:
    repository = Repository(folder)
    for each in (EARLY, late):
        save(folder / "postgres", f"{each.label}.json", records.render(each))
    return source.select(repository.setup, repository, source.Request(moment(to) if to else None, label))


@pytest.mark.parametrize(
    ("to", "label", "timeline", "last"),
    [
        (None, None, 3, "000000030000000000000017"),
        (None, FULL, 3, "000000030000000000000017"),
        # Before the restore that made timeline 3, timeline 2 was written: what was committed then lies on it.
        ("2026-11-23T13:43:49Z", None, 2, "000000020000000000000016"),
        ("2026-11-23T13:41:39Z", None, 1, "000000010000000000000011"),
    ],
)
def test_the_way_leads_over_the_timeline_of_that_time(
    tmp_path: Path, to: str | None, label: str | None, timeline: int, last: str
) -> None:
    found = select(tmp_path, to, label)
    assert found.timeline == timeline
    assert found.last_segment(SIZE) == last
    assert found.record.label == (label or INCR)


def test_backups_of_a_branch_that_was_left_are_not_used(tmp_path: Path) -> None:
    # Made on timeline 2 after the point at which timeline 3 left it.
    aside = dataclasses.replace(LATE, timeline=2, lsn="0/17000000")
    assert select(tmp_path, None, late=aside).record == EARLY


@pytest.mark.parametrize(
    ("made", "due"),
    [
        ([], "full"),
        ([("incr", 1.0)], "full"),
        ([("full", 1.0)], "incr"),
        ([("full", 6.4), ("incr", 0.1)], "incr"),
        ([("full", 6.6), ("incr", 0.1)], "full"),
        ([("full", 20.0), ("full", 2.0)], "incr"),
    ],
)
def test_a_full_backup_is_due_every_week(made: list[tuple[str, float]], due: str) -> None:
    now = datetime(2026, 11, 26, 2, 10, tzinfo=UTC)
    backups = [SimpleNamespace(type=kind, finished=now.timestamp() - days * 86400) for kind, days in made]
    assert part("backup").due(backups, now) == due
