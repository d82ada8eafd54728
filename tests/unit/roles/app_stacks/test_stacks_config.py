"""What the role writes for the program: read, or refused with words that say where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.programs import library, stacks

config = stacks("config")
repository = stacks("repository")
Trouble = library("errors").Trouble

FACT = {"name": "rows", "command": ["count"], "service": None}
STACK: dict[str, Any] = {
    "name": "notes",
    "kind": "compose",
    "version": "1.4",
    "folder": "/srv/stacks/notes",
    "project": "/etc/homelab-provision/stacks/notes",
    "unit": "stack-notes.service",
    "needs": {"mounts": []},
    "health": {"anything": 1},
    "backup": {"paths": ["data", "./more//deep"], "before": "", "after": "", "facts": [FACT]},
}
WHOLE: dict[str, Any] = {
    "host": "site-wyse",
    "share": "/mnt/backup",
    "key_file": "/etc/homelab-provision/stacks-backup-key",
    "second": {"repository": "rest:https://nas.example/x", "environment_file": "/etc/s.env", "certificate": None},
    "keep": {"daily": 7, "weekly": 5, "monthly": 12},
    "stacks": [STACK],
    "newer": True,
}


def load(tmp_path: Path, **changes: Any) -> Any:
    path = tmp_path / "stacks.json"
    path.write_text(json.dumps({**WHOLE, **changes}))
    return config.load(path)


def with_stack(tmp_path: Path, **changes: Any) -> Any:
    return load(tmp_path, stacks=[{**STACK, **changes}])


def with_backup(tmp_path: Path, **changes: Any) -> Any:
    return with_stack(tmp_path, backup={**STACK["backup"], **changes})


def test_it_is_read(tmp_path: Path) -> None:
    setup = load(tmp_path)
    assert setup.stacks[0].paths == ("data", "more/deep")
    assert setup.stacks[0].sources[1] == Path("/srv/stacks/notes/more/deep")
    assert setup.stacks[0].facts == (config.Fact("rows", ("count",), None),)
    assert setup.second.environment_file == Path("/etc/s.env")


def test_without_a_share_and_without_anything_to_keep(tmp_path: Path) -> None:
    setup = load(tmp_path, share=None, second=None, stacks=[{**STACK, "backup": {**STACK["backup"], "paths": []}}])
    assert (setup.share, setup.second, setup.kept) == (None, None, [])


@pytest.mark.negative
@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc", "//etc", "", ".", "..", ".restore-x", ".before-restore-1/x", "a\nb", 5, None]
)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: object) -> None:
    with pytest.raises(Trouble, match=r"stack notes, backup, paths: .* is no path"):
        with_backup(tmp_path, paths=[path])


@pytest.mark.negative
@pytest.mark.parametrize(
    ("paths", "said"), [(["data", "data/x"], "'data/x' lies in 'data'"), (["data", "./data/"], "named twice")]
)
def test_a_path_in_another_is_refused(tmp_path: Path, paths: list[str], said: str) -> None:
    with pytest.raises(Trouble, match=said):
        with_backup(tmp_path, paths=paths)


@pytest.mark.negative
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../x"}, "the name '../x' has to be of"),
        ({"name": "Notes"}, "the name 'Notes' has to be of"),
        ({"kind": "pod"}, "`kind` has to be compose or service, not 'pod'"),
        ({"folder": "srv"}, "stack notes: `folder`: 'srv' is no absolute path"),
        ({"folder": "/srv/../etc"}, "is no absolute path"),
        ({"folder": "/"}, "is no absolute path"),
        ({"unit": "a b.service"}, "is no service of systemd"),
        ({"version": 1.4}, "`version` has to be str, not 1.4"),
        ({"backup": None}, "stack notes, backup is no JSON object"),
        ({"backup": {**STACK["backup"], "facts": [FACT, FACT]}}, "two facts have one name"),
        ({"backup": {**STACK["backup"], "facts": [{**FACT, "command": []}]}}, "a command of words"),
        ({"backup": {**STACK["backup"], "facts": [{**FACT, "service": "-x"}]}}, "is no service of a compose project"),
        ({"kind": "service", "backup": {**STACK["backup"], "facts": [{**FACT, "service": "app"}]}}, "only compose"),
    ],
)
def test_a_wrong_stack_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Trouble, match=said) as refused:
        with_stack(tmp_path, **changes)
    assert "play the role" in refused.value.hint


@pytest.mark.negative
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host": None}, "`host` has to be str, not None"),
        ({"share": "mnt"}, "`share`: 'mnt' is no absolute path"),
        ({"keep": {"daily": 0, "weekly": 0, "monthly": 0}}, "one of them keeps something"),
        ({"keep": {"daily": -1, "weekly": 5, "monthly": 0}}, "not negative"),
        ({"keep": {"daily": True, "weekly": 5, "monthly": 0}}, "`daily` has to be int"),
        ({"stacks": [STACK, STACK]}, "two stacks have the name notes"),
        ({"stacks": [STACK, {**STACK, "name": "wiki"}]}, "two stacks have the folder /srv/stacks/notes"),
        ({"second": {"repository": "rest:https://me:word@nas.example/"}}, "has a password in it"),
        ({"second": {"repository": "--repo"}}, "is no repository"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Trouble, match=said):
        load(tmp_path, **changes)


@pytest.mark.negative
@pytest.mark.parametrize(
    ("text", "said"), [("{", "no whole JSON document"), ("[]", "the whole is no JSON object"), (None, "read")]
)
def test_a_broken_file_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "stacks.json").write_text(text)
    with pytest.raises(Trouble, match=said):
        config.load(tmp_path / "stacks.json")


def test_credentials_are_read_as_systemd_does(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# S3\n\nAWS_ACCESS_KEY_ID=one\n AWS_SECRET_ACCESS_KEY = 'two=3' \n")
    told = repository.credentials(tmp_path / "env")
    assert told == {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "two=3"}
    with pytest.raises(Trouble, match="cannot read"):
        repository.credentials(tmp_path / "none")


def test_a_password_is_in_no_text_of_a_repository(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("RESTIC_REST_PASSWORD=hidden\n")
    second = {"repository": "rest:https://nas/", "environment_file": str(tmp_path / "env"), "certificate": "/etc/ca"}
    made = repository.second(load(tmp_path, second=second))
    assert made._environment["RESTIC_REST_PASSWORD"] == "hidden"
    assert "hidden" not in f"{made!r} {made._words('snapshots')}"
    assert "--cacert=/etc/ca" in made._words("snapshots")
