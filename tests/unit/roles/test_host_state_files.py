"""Files in `host_state`: what it compares, what it refuses, and what it still owes after a crash."""

from __future__ import annotations

import grp
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import modules

files = modules.part("files")

OWNER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name


def entry(path: Path, **given: Any) -> dict[str, Any]:
    absent = dict.fromkeys(("content", "merge", "link", "validate", "in_effect"))
    return {
        **absent,
        "path": str(path),
        "state": "present",
        "owner": OWNER,
        "group": GROUP,
        "mode": "0644",
        "then": [],
        **given,
    }


def spec(path: Path, **given: Any) -> dict[str, Any]:
    """An entry as a playbook gives it: nothing is null."""
    return {key: value for key, value in entry(path, **given).items() if value is not None}


def wanted(path: Path, **given: Any) -> Any:
    return files.want(entry(path, **given), files.look(str(path)), os.getuid(), os.getgid())


def play(entries: list[dict[str, Any]], tmp_path: Path, capsys: Any, check: bool = False) -> dict[str, Any]:
    """What the module says about a list of files: the part's own answer beside the common keys."""
    answer = modules.play({"files": entries}, tmp_path, capsys, check=check)
    return {**answer, **answer.get("files", {})}


@pytest.fixture(autouse=True)
def pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "PENDING", tmp_path / "run" / "pending.json")
    return tmp_path / "run" / "pending.json"


def test_a_file_differs_by_its_text_mode_and_kind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    want = wanted(path, content="a\n")
    assert files.differs(want, files.look(str(path)))
    files.commit(want)
    assert path.read_text() == "a\n"
    assert not files.differs(want, files.look(str(path)))
    path.chmod(0o600)
    assert files.differs(want, files.look(str(path)))
    path.unlink()
    path.symlink_to("elsewhere")
    assert files.differs(want, files.look(str(path)))
    files.commit(want)
    assert not path.is_symlink()


def test_nobody_ever_sees_a_secret_with_a_wider_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    replace = os.replace

    def watch(new: str, path: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        seen.append(os.stat(new, dir_fd=src_dir_fd).st_mode & 0o777)
        replace(new, path, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "replace", watch)
    files.commit(wanted(tmp_path / "secret", content="s", mode="0600"))
    assert seen == [0o600]


def test_a_link_is_replaced_and_never_points_nowhere(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    path = tmp_path / "link"
    files.commit(wanted(path, link=str(tmp_path / "target")))
    assert path.readlink() == tmp_path / "target"
    lost = wanted(path, link=str(tmp_path / "nowhere"))
    with pytest.raises(files.UnwritableError, match="does not exist"):
        files.refuse(lost, files.look(str(path)))


def test_directories_come_before_what_lies_in_them(tmp_path: Path) -> None:
    file = wanted(tmp_path / "a" / "b", content="")
    folder = wanted(tmp_path / "a", state="directory", mode="0755")
    assert files.in_order([file, folder]) == [folder, file]


@pytest.mark.negative
def test_a_directory_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    want = wanted(tmp_path / "folder", content="x")
    with pytest.raises(files.UnwritableError, match="is a directory"):
        files.refuse(want, files.look(want.path))


@pytest.mark.parametrize(
    "given",
    [{}, {"content": "a", "link": "/b"}, {"content": "a", "state": "absent"}, {"merge": {}, "state": "directory"}],
)
@pytest.mark.negative
def test_contradictory_entries_are_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(files.UnwritableError, match="one of content"):
        wanted(tmp_path / "x", **given)


def test_merging_sets_keys_and_keeps_the_rest() -> None:
    before = b'{"nonce": "n", "list": [1]}'
    after = files.merged(before, {"converged": {"run": "r"}})
    assert json.loads(after) == {"nonce": "n", "list": [1], "converged": {"run": "r"}}
    assert files.merged(after, {"converged": {"run": "r"}}) == after


@pytest.mark.parametrize("text", [b"[]", b"{", b"half a file"])
@pytest.mark.negative
def test_merging_refuses_what_is_no_json_object(text: bytes) -> None:
    with pytest.raises(files.UnwritableError, match="is not"):
        files.merged(text, {"a": 1})


def test_diff_shows_text_or_attributes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a\n")
    path.chmod(0o600)
    seen = files.look(str(path))
    assert files.diff(wanted(path, content="b\n"), seen)["before"] == "a\n"
    assert "mode 0600" in files.diff(wanted(path, content="a\n"), seen)["before"]


@pytest.mark.processes
def test_what_a_change_asks_for_runs_once(tmp_path: Path, capsys: Any, pending: Path) -> None:
    log = tmp_path / "log"
    say = f"sh -c 'echo reload >>{log}'"
    entries = [spec(tmp_path / name, content=name, then=[say]) for name in ("a", "b")]
    first = play(entries, tmp_path, capsys)
    assert (first["changed"], first["ran"]) == (True, [say])
    second = play(entries, tmp_path, capsys)
    assert (second["changed"], second["ran"]) == (False, [])
    assert log.read_text() == "reload\n"
    assert json.loads(pending.read_text()) == []


@pytest.mark.processes
def test_what_failed_is_still_owed_and_done_by_the_next_run(tmp_path: Path, capsys: Any, pending: Path) -> None:
    entries = [spec(tmp_path / "a", content="a", then=["true", f"test -e {tmp_path}/mended", "echo last"])]
    failed = play(entries, tmp_path, capsys)
    assert failed["failed"]
    assert json.loads(pending.read_text()) == [f"test -e {tmp_path}/mended", "echo last"]
    (tmp_path / "mended").touch()
    again = play(entries, tmp_path, capsys)
    assert again["changed"]
    assert again["changed_files"] == []
    assert again["ran"] == [f"test -e {tmp_path}/mended", "echo last"]


@pytest.mark.processes
def test_a_right_file_that_nobody_follows_is_applied_again(tmp_path: Path, capsys: Any) -> None:
    rule = tmp_path / "rule"
    entries = [spec(tmp_path / "a", content="a", in_effect=f"test -e {rule}", then=[f"touch {rule}"])]
    play(entries, tmp_path, capsys)
    rule.unlink()
    assert play(entries, tmp_path, capsys, check=True)["changed"]
    assert play(entries, tmp_path, capsys)["ran"] == [f"touch {rule}"]
    assert not play(entries, tmp_path, capsys)["changed"]


@pytest.mark.processes
@pytest.mark.negative
def test_one_refused_file_keeps_all_others_as_they_were(tmp_path: Path, capsys: Any) -> None:
    entries = [spec(tmp_path / "good", content="a"), spec(tmp_path / "bad", content="b", validate="grep -q x %s")]
    refused = play(entries, tmp_path, capsys)
    assert refused["failed"]
    assert "refuses the new text" in refused["msg"]
    assert not (tmp_path / "good").exists()


@pytest.mark.processes
def test_check_mode_tells_and_writes_nothing(tmp_path: Path, capsys: Any, pending: Path) -> None:
    entries = [spec(tmp_path / "a", content="a", then=[f"touch {tmp_path}/ran"])]
    told = play(entries, tmp_path, capsys, check=True)
    assert told["changed"]
    assert told["diff"][0]["after"] == "a"
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "ran").exists()
    assert not pending.exists()


def test_commands_run_once_and_systemctl_gets_all_units_in_one_call() -> None:
    reload = "systemctl try-reload-or-restart"
    owed = [
        "systemctl daemon-reload",
        f"{reload} a.service",
        "locale-gen",
        f"{reload} b.service",
        f"{reload} a.service",
    ]
    assert files.batched(owed) == ["systemctl daemon-reload", f"{reload} a.service b.service", "locale-gen"]


def test_a_changed_unit_is_read_before_it_is_started_again() -> None:
    """Also where a file that it reads has asked for the start before."""
    owed = ["systemctl try-restart a.service", "systemctl daemon-reload", "systemctl try-restart a.service"]
    assert files.batched(owed) == ["systemctl daemon-reload", "systemctl try-restart a.service"]
