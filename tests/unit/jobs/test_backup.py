"""`provision backup` and `provision restore`: which programs run, what is asked first, what is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision.data.program import DataError
from homelab_provision.errors import Interrupted, Refused, UsageError
from homelab_provision.events import PhaseFinished, RunFinished, RunResult, discard
from homelab_provision.jobs import backup
from homelab_provision.runs import store
from homelab_provision.site.models import Backup, Host

PROGRAM = "/usr/local/sbin/homelab-postgres"
KEY = ("db-wyse", "key of db-wyse")
BACKUP = Backup(server=IPv4Address("192.168.50.20"), export="/srv/backup")


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What runs on the host: db-wyse keeps data, site-wyse keeps none, nas keeps what nothing brings back."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    roles = {
        "db-wyse": ["postgres"],
        "site-wyse": ["shop"],
        "nas": ["nfs_server"],
        "lone-wyse": ["postgres"],
        "both-wyse": ["postgres", "app_stacks"],
    }
    hosts = {
        name: Host(name=name, roles=("base", *roles[name]), backup=BACKUP if name != "lone-wyse" else None)
        for name in roles
    }
    calls: list[tuple[str, ...]] = []

    keys = {name: SimpleNamespace(signing=SimpleNamespace(private=f"key of {name}")) for name in roles}

    @contextmanager
    def session(site: Path, names: list[str]) -> Iterator[Any]:
        yield SimpleNamespace(
            site=SimpleNamespace(host=hosts.__getitem__), ssh=None, identities=SimpleNamespace(hosts=keys)
        )

    def run_program(ssh: Any, host: str, program: str, *words: str, emit: Any) -> dict[str, Any]:
        calls.append((host, program, *words))
        if "broken" in words:
            raise DataError("db-wyse: the share is away")
        if "stopped" in words:
            raise KeyboardInterrupt
        return {"label": "x", "fingerprint": {"large": True}, words[0]: True}

    monkeypatch.setattr(backup, "session", session)
    monkeypatch.setattr(backup, "run_program", run_program)
    monkeypatch.setattr(backup, "bring_key", lambda ssh, host, private: calls.append((host, private)))
    return calls


def result() -> Any:
    last = store.load("latest").events()[-1]
    assert isinstance(last, RunFinished)
    return last.result


def test_a_backup_that_is_proven_is_a_proven_run(ran: list[tuple[str, ...]], tmp_path: Path) -> None:
    told = backup.back_up(tmp_path, "db-wyse", "full", prove=True, emit=discard)
    assert ran == [KEY, ("db-wyse", PROGRAM, "backup", "--type", "full"), ("db-wyse", PROGRAM, "prove")]
    assert told["postgres"] == {"label": "x", "fingerprint": {"large": True}, "backup": True, "prove": True}
    assert result() is RunResult.PROVEN
    finished = [event for event in store.load("latest").events() if isinstance(event, PhaseFinished)]
    assert (finished[0].phase, finished[0].proof["postgres"]) == (
        "backup",
        {"label": "x", "backup": True, "prove": True},
    )


def test_a_backup_alone_proves_nothing(ran: list[tuple[str, ...]], tmp_path: Path) -> None:
    backup.back_up(tmp_path, "db-wyse", None, prove=False, emit=discard)
    assert ran == [KEY, ("db-wyse", PROGRAM, "backup")]
    assert result() is RunResult.DONE


def test_what_will_be_replaced_is_told_first(ran: list[tuple[str, ...]], tmp_path: Path) -> None:
    told: list[str] = []
    backup.restore(tmp_path, "db-wyse", "2026-11-23T07:30", None, emit=discard, confirm=told.append)
    assert told == ["This replaces the data (postgres) of db-wyse by its state of 2026-11-23T07:30."]
    assert ran == [("db-wyse", PROGRAM, "restore", "--to", "2026-11-23T07:30")]
    spans = backup.Part("database", "spans")
    backup.restore(tmp_path, "db-wyse", None, spans, emit=discard, confirm=told.append)
    assert told[1:] == ["This replaces the database spans of db-wyse by the newest backup."]
    assert ran[1:] == [("db-wyse", PROGRAM, "restore", "--database", "spans")]


def test_a_part_is_brought_back_by_the_role_that_has_it(ran: list[tuple[str, ...]], tmp_path: Path) -> None:
    told: list[str] = []
    backup.restore(tmp_path, "both-wyse", None, backup.Part("stack", "notes"), emit=discard, confirm=told.append)
    assert told == ["This replaces the stack notes of both-wyse by the newest backup."]
    assert ran == [("both-wyse", "/usr/local/sbin/homelab-stacks", "restore", "--stack", "notes")]


def test_what_has_a_second_repository_is_brought_back_from_it(ran: list[tuple[str, ...]], tmp_path: Path) -> None:
    told: list[str] = []
    backup.restore(tmp_path, "both-wyse", None, None, second=True, emit=discard, confirm=told.append)
    assert told == ["This replaces the data (app_stacks) of both-wyse by the newest backup in the second repository."]
    assert ran == [("both-wyse", "/usr/local/sbin/homelab-stacks", "restore", "--from", "second")]


@pytest.mark.negative
def test_a_host_that_has_none_is_told_before_anything_is_asked(ran: list[tuple[str, ...]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no role of `db-wyse` restores from a second repository by itself"):
        backup.restore(tmp_path, "db-wyse", None, None, second=True, emit=discard, confirm=pytest.fail)
    assert not ran


@pytest.mark.negative
def test_a_part_that_no_role_of_the_host_has_is_refused(ran: list[tuple[str, ...]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no role of `db-wyse` keeps a stack"):
        backup.restore(tmp_path, "db-wyse", None, backup.Part("stack", "x"), emit=discard, confirm=lambda text: None)
    assert not ran


@pytest.mark.negative
def test_who_says_no_leaves_no_run_behind(ran: list[tuple[str, ...]], tmp_path: Path) -> None:
    def no(text: str) -> None:
        raise Refused("not confirmed")

    with pytest.raises(Refused):
        backup.restore(tmp_path, "db-wyse", None, None, emit=discard, confirm=no)
    assert not ran
    assert not store.everything()


@pytest.mark.negative
def test_a_restore_that_fails_is_recorded_as_failed(ran: list[tuple[str, ...]], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the share is away"):
        backup.restore(tmp_path, "db-wyse", "broken", None, emit=discard, confirm=lambda text: None)
    assert result() is RunResult.FAILED


@pytest.mark.negative
def test_a_restore_that_is_interrupted_has_an_end_in_the_journal(ran: list[tuple[str, ...]], tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="run the same command again"):
        backup.restore(tmp_path, "db-wyse", "stopped", None, emit=discard, confirm=lambda text: None)
    assert result() is RunResult.FAILED


@pytest.mark.negative
@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("site-wyse", "no role of `site-wyse` keeps data that is backed up"),
        ("nas", "no role of `nas` keeps data that is backed up"),
        ("lone-wyse", "`provision_backup` is not set"),
    ],
)
def test_hosts_without_a_backup(ran: list[tuple[str, ...]], tmp_path: Path, host: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        backup.back_up(tmp_path, host, None, prove=False, emit=discard)
    assert not ran
