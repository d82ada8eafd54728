"""What the role wrote down for the program: taken if it is whole, else named with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs as program

config, trouble = program.part("config"), program.part("errors")

LEAST = {
    "host": "db-wyse",
    "version": "17",
    "data": "/srv/postgresql/17/main",
    "config": "/etc/postgresql/17/main",
    "service": "postgresql@17-main.service",
    "socket": "/var/run/postgresql",
    "port": 5432,
    "stanza": "main",
}
BACKUPS = {"share": "/mnt/backup", "repository": "/mnt/backup/db-wyse/pgbackrest", "records": "/mnt/backup/db-wyse/pg"}


def parse(**changes: Any) -> Any:
    return config.parse(json.dumps({**LEAST, **changes}))


def test_host_without_backups() -> None:
    setup = parse()
    assert (setup.port, setup.account, setup.second, setup.repository) == (5432, "postgres", False, None)
    assert setup.beside("restored") == Path("/srv/postgresql/17/main.restored")
    assert setup.programs == Path("/usr/lib/postgresql/17/bin")


def test_host_with_two_places_for_backups() -> None:
    setup = parse(**BACKUPS, second=True)
    assert setup.second is True
    assert config.backups_of(setup) == (Path(BACKUPS["repository"]), Path(BACKUPS["records"]))


def test_keys_of_newer_roles_are_left_alone() -> None:
    assert parse(newer=1) == parse()


@pytest.mark.negative
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stanza": None}, "does not say `stanza`"),
        ({"port": "5432"}, "`port` has to be int, not '5432'"),
        ({"port": True}, "`port` has to be int, not True"),
        ({"second": {"type": "s3"}}, "`second` has to be bool"),
        ({"second": 1}, "`second` has to be bool, not 1"),
        ({"data": "srv"}, "`data` has to be an absolute path, not 'srv'"),
    ],
)
def test_what_cannot_be_right_is_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(trouble.Trouble, match=told):
        parse(**changes)


@pytest.mark.negative
def test_backup_without_a_place_for_it() -> None:
    with pytest.raises(trouble.Trouble, match="no place for backups"):
        config.backups_of(parse())


@pytest.mark.negative
@pytest.mark.parametrize(
    ("text", "told"), [(None, "cannot read"), ("{", "no whole JSON document"), ("[]", "an object is expected")]
)
def test_file_that_is_missing_or_broken(tmp_path: Path, text: str | None, told: str) -> None:
    file = tmp_path / "postgres.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(trouble.Trouble, match=told):
        config.load(file)


def test_file_of_the_role(tmp_path: Path) -> None:
    file = tmp_path / "postgres.json"
    file.write_text(json.dumps(LEAST))
    assert config.load(file) == parse()
