"""Who may connect, what the machine is, what lies at the data's place, and files that are put back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import modules

config = modules.part("config", "postgres")
data = modules.part("data", "postgres")
files = modules.part("files")
hba = modules.part("hba", "postgres")
machine = modules.part("machine", "postgres")

LAN = {"address": "192.168.50.0/24", "database": "spans", "user": "all"}


def rules(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if not line.startswith("#")]


def test_without_clients_nobody_comes_over_the_network() -> None:
    assert [rule for rule in rules(hba.text([])) if rule[0].startswith("host")] == [
        ["host", "all", "postgres", "all", "reject"],
        ["host", "all", "all", "all", "reject"],
    ]


def test_clients_come_with_tls_and_a_password_and_the_rest_is_rejected() -> None:
    found = rules(hba.text([LAN]))
    assert found[0] == ["local", "all", "postgres", "peer"]
    assert found[-3:] == [
        ["host", "all", "postgres", "all", "reject"],  # before `all` could mean the administrator
        ["hostssl", '"spans"', "all", "192.168.50.0/24", "scram-sha-256"],
        ["host", "all", "all", "all", "reject"],
    ]


@pytest.mark.parametrize(
    ("name", "written"), [("replication", '"replication"'), ("+group", '"+group"'), ("all", "all")]
)
def test_names_mean_nothing_but_themselves(name: str, written: str) -> None:
    assert hba.line({**LAN, "user": name}).split()[2] == written


def test_address_gets_its_prefix() -> None:
    assert hba.network("192.168.50.7") == "192.168.50.7/32"
    assert hba.network("fd00::1") == "fd00::1/128"


@pytest.mark.parametrize("address", ["db.lan", "192.168.50.7/24", "192.168.50.0/33", ""])
def test_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="postgres_clients"):
        hba.text([{**LAN, "address": address}])


@pytest.mark.parametrize("field", ["database", "user"])
def test_no_name_smuggles_a_second_line_in(field: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        hba.text([{**LAN, field: "x\nhost all all all trust"}])


@pytest.mark.parametrize(("spins", "expected"), [("1\n", True), ("0\n", False), (None, False)])
@pytest.mark.parametrize("partition", [True, False])
def test_disk_below_the_data_is_found(tmp_path: Path, spins: str | None, expected: bool, partition: bool) -> None:
    device = os.stat(tmp_path).st_dev  # noqa: PTH116 - the number, as the module sees it
    disk = tmp_path / "devices" / "sda"
    below = disk / "sda3" if partition else disk
    below.mkdir(parents=True)
    if spins is not None:
        (disk / "queue").mkdir()
        (disk / "queue" / "rotational").write_text(spins)
    known = tmp_path / "dev"
    known.mkdir()
    (known / f"{os.major(device)}:{os.minor(device)}").symlink_to(below)
    assert machine.rotational(str(tmp_path / "not" / "there" / "yet"), known) is expected


def cluster(root: Path, version: str, inside: str | None = None) -> str:
    place = root / version / "main"
    place.mkdir(parents=True)
    (place / "PG_VERSION").write_text(f"{inside or version}\n")
    return str(place)


def test_cluster_is_adopted_or_made(tmp_path: Path) -> None:
    assert not data.present(str(tmp_path / "17" / "main"), "17")
    assert data.present(cluster(tmp_path, "17"), "17")


def test_cluster_of_another_version_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(data.UnusableError, match="is a cluster of PostgreSQL 16, not 17"):
        data.present(cluster(tmp_path, "17", inside="16"), "17")


def test_no_empty_cluster_beside_one_of_another_version(tmp_path: Path) -> None:
    cluster(tmp_path, "9.6")
    cluster(tmp_path, "16")
    with pytest.raises(data.UnusableError, match="16/main is a cluster of PostgreSQL 16, and an empty one of 17"):
        data.present(str(tmp_path / "17" / "main"), "17")


def test_files_of_somebody_else_are_not_touched(tmp_path: Path) -> None:
    place = tmp_path / "17" / "main"
    place.mkdir(parents=True)
    (place / "lost+found").mkdir()
    with pytest.raises(data.UnusableError, match="holds files and is no cluster"):
        data.present(str(place), "17")


def desired(path: Path, text: str) -> Any:
    return files.Desired(str(path), "file", text.encode(), 0o600, os.getuid(), os.getgid())


def test_refused_files_are_put_back(tmp_path: Path) -> None:
    old, new = tmp_path / "old.conf", tmp_path / "new.conf"
    old.write_text("was here")
    old.chmod(0o640)
    seen = []

    def refuse() -> None:
        with config.placed([desired(old, "changed"), desired(new, "not here before")]):
            seen.extend([old.read_text(), new.read_text()])
            raise config.RefusedError

    with pytest.raises(config.RefusedError):
        refuse()
    assert seen == ["changed", "not here before"]
    assert (old.read_text(), old.stat().st_mode & 0o777, new.exists()) == ("was here", 0o640, False)


def test_accepted_files_stay(tmp_path: Path) -> None:
    with config.placed([desired(tmp_path / "one.conf", "text")]):
        pass
    assert (tmp_path / "one.conf").read_text() == "text"


def test_key_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(config.RefusedError, match=r"host\.crt"):
        config.key_pair(str(tmp_path / "host.crt"), str(tmp_path / "host.key"))
