"""Times, configuration, mounts, settings and refusals: what people write, and what they are told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.postgres.repository_output import CONTROL, MOUNTINFO, SYSTEM_ID
from tests.unit.roles.programs import part

moment = part("timestamps")
config = part("config")
share = part("share")
control = part("pg_control")
fingerprint = part("fingerprint")
sql = part("sql")
Trouble = part("errors").Trouble

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-23T14:30Z", datetime(2026, 11, 23, 14, 30, tzinfo=UTC)),
        ("2026-11-23 14:30:00+01:00", datetime(2026, 11, 23, 13, 30, tzinfo=UTC)),
        (" 2026-11-23T14:30:00.25-05:00 ".replace("14", "09"), datetime(2026, 11, 23, 14, 30, 0, 250000, tzinfo=UTC)),
    ],
)
def test_times_are_read(text: str, meant: datetime) -> None:
    assert moment.parse_moment(text, NOW) == meant


def test_a_time_without_an_offset_is_that_of_the_hosts_clock() -> None:
    assert moment.parse_moment("2026-11-20T10:00", NOW) == datetime(2026, 11, 20, 10, 0).astimezone(UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-23", "14:30", "2026-13-01T10:00", "1795441293"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time; write it like 2026-"):
        moment.parse_moment(text, NOW)


def test_the_future_is_refused() -> None:
    with pytest.raises(ValueError, match="has not come yet"):
        moment.parse_moment("2026-11-23T15:00:01Z", NOW)


def test_moments_are_kept_in_utc() -> None:
    local = datetime(2026, 11, 23, 14, 30, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    assert moment.write(local) == "2026-11-23T13:30:00.000005Z"
    assert moment.read(moment.write(local)) == local


FOUND = {
    "host": "db-wyse",
    "version": "17",
    "data": "/srv/postgresql/17/main",
    "config": "/etc/postgresql/17/main",
    "service": "postgresql@17-main.service",
    "socket": "/var/run/postgresql",
    "port": 5432,
    "stanza": "main",
    "share": "/mnt/backup",
    "records": "/mnt/backup/postgres",
    "repository": "/mnt/backup/pgbackrest",
    "newer": True,
}


def load(tmp_path: Path, **changes: Any) -> Any:
    path = tmp_path / "postgres.json"
    path.write_text(json.dumps({name: value for name, value in {**FOUND, **changes}.items() if value != "absent"}))
    return config.load(path)


def test_configuration_is_read(tmp_path: Path) -> None:
    setup = load(tmp_path)
    assert setup.beside("restoring") == Path("/srv/postgresql/17/main.restoring")
    assert setup.programs == Path("/usr/lib/postgresql/17/bin")
    assert config.backups_of(setup) == (Path("/mnt/backup/pgbackrest"), Path("/mnt/backup/postgres"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "absent"}, "does not say `data`"),
        ({"data": "srv"}, "`data` has to be an absolute path"),
        ({"port": "5432"}, "`port` has to be int"),
        ({"port": True}, "`port` has to be int"),
        ({"socket": 5}, "`socket` has to be str"),
    ],
)
def test_wrong_configuration_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Trouble, match=said) as refused:
        load(tmp_path, **changes)
    assert "play the role" in refused.value.hint


def test_missing_or_broken_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="cannot read"):
        config.load(tmp_path / "postgres.json")
    (tmp_path / "postgres.json").write_text("{")
    with pytest.raises(Trouble, match="no whole JSON document"):
        config.load(tmp_path / "postgres.json")


def test_without_a_place_for_backups_nothing_is_backed_up(tmp_path: Path) -> None:
    setup = load(tmp_path, share=None, records=None, repository=None)
    with pytest.raises(Trouble, match="no place for backups"):
        config.backups_of(setup)


@pytest.mark.parametrize(
    ("path", "source"),
    [("/mnt/backup", "192.168.50.20:/srv/backup/db wyse"), ("/mnt/waiting", None), ("/mnt", None)],
)
def test_a_share_is_mounted_or_is_not(path: str, source: str | None) -> None:
    assert share.mounted(MOUNTINFO, Path(path)) == source


@pytest.mark.parametrize(
    ("path", "unit"),
    [("/mnt/backup", "mnt-backup.mount"), ("/srv/my-share", "srv-my\\x2dshare.mount"), ("/a/b c", "a-b\\x20c.mount")],
)
def test_the_unit_of_a_mount(path: str, unit: str) -> None:
    assert share.unit(Path(path)) == unit


def test_a_share_that_hangs_holds_up_nobody() -> None:
    with pytest.raises(TimeoutError):
        share.bounded(lambda: __import__("time").sleep(60), patience=0.2)


def test_what_a_share_says_comes_through() -> None:
    assert share.bounded(lambda: {"a": 1}) == {"a": 1}
    with pytest.raises(FileNotFoundError):
        share.bounded(lambda: len(list(Path("/nowhere/at/all").iterdir())))


def test_control_data_are_read() -> None:
    found = control.parse_control(CONTROL)
    assert (found.system_id, found.segment_size, found.wal_level) == (SYSTEM_ID, 16 << 20, "replica")
    assert found.least["max_connections"] == 150


def told_fingerprint(rows: int = 3, checksum: str = "7", **databases: Any) -> dict[str, Any]:
    table = {"public.t": {"rows": rows, "checksum": checksum}}
    return {
        "server_version": "17.6",
        "databases": {"spans": {"extensions": {"vector": "0.8.0"}, "tables": table}, **databases},
    }


EMPTY: dict[str, Any] = {"extensions": {}, "tables": {}}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (told_fingerprint(), []),
        ({**told_fingerprint(), "server_version": "17.7"}, []),
        (told_fingerprint(rows=2), ["database spans, table public.t: 2 rows instead of 3"]),
        (told_fingerprint(checksum="8"), ["database spans, table public.t: the rows differ"]),
        (told_fingerprint(more=EMPTY), ["database more: was not there"]),
        ({"databases": {}}, ["database spans: is missing"]),
        (
            {"databases": {"spans": EMPTY}},
            ["database spans: {} instead of {'vector': '0.8.0'}", "database spans, table public.t: is missing"],
        ),
    ],
)
def test_differences_are_told(found: dict[str, Any], said: list[str]) -> None:
    assert fingerprint.differences(told_fingerprint(), found) == said


def test_sums() -> None:
    assert fingerprint.sums(told_fingerprint(more=EMPTY)) == {"tables": 1, "rows": 3}


def test_names_cannot_break_out_of_a_statement() -> None:
    assert fingerprint.Table('a"b', "c d", 0, True).sql == '"a""b"."c d"'
    assert sql.target("it's = \\x").startswith("dbname='it\\'s = \\\\x' ")


def test_a_checksum_is_binary_where_every_column_can_be() -> None:
    table = fingerprint.Table("public", "t", 0, True)
    assert "record_send" in fingerprint.checksum_query(table, as_text=False)
    assert "record_out" in fingerprint.checksum_query(table, as_text=True)
    assert "record_out" in fingerprint.checksum_query(fingerprint.Table("public", "t", 0, False), as_text=False)
