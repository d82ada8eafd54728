"""Accounts and packages in `host_state`: which programs they would call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import modules

accounts = modules.part("accounts")
packages = modules.part("packages")


def user(**given: Any) -> dict[str, Any]:
    return {
        "name": "ada",
        "comment": "Ada",
        "shell": "/bin/bash",
        "groups": [],
        "sudo": False,
        "keys": [],
        "state": "present",
        **given,
    }


def seen(*groups: str, shell: str = "/bin/bash") -> Any:
    return accounts.Account("Ada", shell, frozenset(groups))


@pytest.mark.parametrize(
    ("wanted", "present", "programs"),
    [
        (user(), seen(), []),
        (user(sudo=True), seen("sudo"), []),
        (user(sudo=True, groups=["docker"]), seen(), [["usermod", "--append", "--groups", "docker,sudo", "--", "ada"]]),
        # groups of other roles stay, sudo does not
        (user(), seen("docker", "sudo"), [["gpasswd", "--delete", "ada", "sudo"]]),
        (user(), seen(shell="/bin/sh"), [["usermod", "--comment", "Ada", "--shell", "/bin/bash", "--", "ada"]]),
        (user(), seen()._replace(locked=True), [["usermod", "--expiredate", "", "--", "ada"]]),
        (user(state="absent"), None, []),
        (user(state="absent"), seen(), [["userdel", "ada"]]),
    ],
)
def test_programs_follow_from_the_difference(wanted: Any, present: Any, programs: list[list[str]]) -> None:
    assert accounts.commands(wanted, present) == programs


def entry(**given: Any) -> Any:
    return accounts.Entry(**{"name": "left", "uid": 1001, "home": "/home/left", "groups": frozenset(), **given})


LOCK = ["usermod", "--lock", "--expiredate", "1", "--", "left"]
DISARM = ["gpasswd", "--delete", "left", "sudo"]


@pytest.mark.negative
@pytest.mark.parametrize(
    ("there", "lingers", "programs"),
    [
        (entry(), False, [LOCK]),
        (entry(expires="1"), False, []),
        (entry(expires="1", password="$y$hash"), False, [LOCK]),
        (entry(expires="20000"), False, [LOCK]),
        (entry(expires="1", groups=frozenset({"sudo", "docker"})), False, [["usermod", "--groups", "", "--", "left"]]),
        (entry(expires="1"), True, [["rm", "--force", "--", "/var/lib/systemd/linger/left"]]),
        # A service's account: what its role gave it stays, a password and sudo came from elsewhere.
        (entry(home="/var/lib/postgresql", uid=5432, groups=frozenset({"ssl-cert"})), False, []),
        (entry(home="/var/lib/postgresql", uid=5432, password="$6$x"), False, [["usermod", "--lock", "--", "left"]]),
        (entry(home="/srv/app", uid=6000, groups=frozenset({"sudo"})), False, [DISARM]),
        (entry(home="/home/x", uid=120, groups=frozenset({"sudo"})), False, [DISARM]),
        (entry(home="/nonexistent", uid=65534), False, []),
    ],
)
def test_who_is_not_listed_loses_what_lets_him_in(there: Any, lingers: bool, programs: list[list[str]]) -> None:
    assert accounts.lock_commands(there, lingers) == programs


def test_shadow_is_read_by_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow = tmp_path / "shadow"
    shadow.write_text("root:*:19000:0:99999:7:::\nleft:!$y$j9T$x:19000:0:99999:7::1:\nbroken\n")
    monkeypatch.setattr(accounts, "SHADOW", shadow)
    assert accounts._shadow() == {"root": ("*", ""), "left": ("!$y$j9T$x", "1")}


def test_a_new_account_is_made_in_one_call() -> None:
    (made,) = accounts.commands(user(sudo=True), None)
    assert made[0] == "useradd"
    assert made[-4:] == ["--groups", "sudo", "--", "ada"]


def test_only_present_accounts_have_keys() -> None:
    users = [user(keys=[" key one ", "key two"]), user(name="bob"), user(name="eve", keys=["x"], state="absent")]
    assert accounts.key_files(users) == {"ada": "key one\nkey two\n"}


@pytest.mark.processes
@pytest.mark.negative
def test_keys_of_those_who_left_the_list_are_removed(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    keys = tmp_path / "keys"
    monkeypatch.setattr(accounts, "look", lambda name: seen())
    monkeypatch.setattr(accounts, "look_at_all", list)
    monkeypatch.setattr(accounts, "KEYS", keys)

    def play(check: bool = False) -> list[str]:
        answer = modules.play({"accounts": [user(keys=["one"])]}, tmp_path, capsys, check=check)
        assert answer["changed"] == bool(answer["accounts"]["actions"])
        return list(answer["accounts"]["actions"])

    assert play() == ["write the keys of ada"]
    (keys / "left").write_text("old key\n")
    assert play(check=True) == ["remove the keys of left"]
    assert (keys / "left").exists()
    assert play() == ["remove the keys of left"]
    assert [file.name for file in keys.iterdir()] == ["ada"]
    assert play() == []


@pytest.mark.processes
@pytest.mark.negative
def test_root_is_no_account_of_the_list(tmp_path: Path, capsys: Any) -> None:
    refused = modules.play({"accounts": [user(name="root")]}, tmp_path, capsys)
    assert refused["failed"]


def test_missing_packages_are_those_that_dpkg_does_not_show_as_installed() -> None:
    shown = "chrony installed\nnftables not-installed\nsudo config-files\n"
    assert packages.missing(["chrony", "nftables", "sudo", "unheard-of", "sudo"], shown) == [
        "nftables",
        "sudo",
        "unheard-of",
    ]
