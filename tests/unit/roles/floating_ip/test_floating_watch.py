"""When a verdict turns, what keepalived reads, and what others are told."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs

pytestmark = pytest.mark.processes
watch, settings = programs.floating("watch"), programs.floating("settings")
hooks, release = programs.floating("hooks"), programs.floating("release")
NAME = settings.Name(
    "dns", ("192.0.2.53/24", "fd00::53/64"), (settings.Check("tcp", port=1), settings.Check("tcp", port=2))
)


@pytest.mark.parametrize(
    ("good", "passes", "turns"),
    [
        (True, "xx.xx.xx.", []),
        (True, "xxx", [2]),
        (True, "xxxx.x..", [2, 7]),
        (False, ".x.x.x", []),
        (False, "..xxx", [1, 4]),
    ],
)
def test_it_takes_some_in_a_row(good: bool, passes: str, turns: list[int]) -> None:
    verdict = watch.Verdict(good, fall=3, rise=2)
    assert [at for at, one in enumerate(passes) if verdict.changed_by(one == ".")] == turns


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """What is wrong with which port; nothing at first."""
    known: dict[int, str] = {}
    monkeypatch.setattr(watch, "objection", lambda check: known.get(check.port))
    return known


def test_the_answer_is_bad_until_it_was_good_and_names_its_cause(tmp_path: Path, wrong: dict[int, str]) -> None:
    watching = watch.Watch(NAME, settings.Settings(0.5, 3, 2), tmp_path)
    told = [(tmp_path / "dns").read_text()]

    def check(times: int) -> None:
        for _ in range(times):
            watching.once()
        told.append((tmp_path / "dns").read_text())

    check(1)
    check(1)
    wrong[2] = "tcp 127.0.0.1:2:\nrefused"
    check(2)
    check(1)
    assert told == ["0 not checked yet\n", "0 not checked yet\n", "1\n", "1\n", "0 tcp 127.0.0.1:2: refused\n"]
    assert [file.name for file in tmp_path.iterdir()] == ["dns"]


def test_what_was_good_is_good_while_the_program_begins_anew(tmp_path: Path, wrong: dict[int, str]) -> None:
    (tmp_path / "dns").write_text("1\n")
    watch.Watch(NAME, settings.Settings(0.5, 3, 2), tmp_path)
    assert (tmp_path / "dns").read_text() == "1\n"


def test_a_program_that_is_told_learns_of_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(hooks, "say", lambda text, level="notice": said.append(text))
    folder, states, answers = tmp_path / "hooks", tmp_path / "states", tmp_path / "answers"
    folder.joinpath("dns").mkdir(parents=True)
    answers.mkdir()
    (answers / "dns").write_text("0 dns: no answer\n")
    _program(folder / "dns" / "10-fails", "echo sorry >&2; exit 1")
    _program(folder / "dns" / "20-notes", f"echo $1 >>{tmp_path}/notes")
    (folder / "dns" / "README").write_text("not a program")
    for state in ("BACKUP", "MASTER", "MASTER", "FAULT", "DELETED"):
        hooks.moved("dns", state, folder, states, answers)
    assert (tmp_path / "notes").read_text().split() == ["backup", "master", "fault"]
    assert (states / "dns").read_text() == "fault"
    assert "dns: master: this host has the address now" in said
    assert "dns: fault: dns: no answer" in said
    assert f"dns: {folder}/dns/10-fails fault failed: sorry" in said


def test_the_newest_state_is_the_last_one_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is still busy with the first while two more come, and the last is overtaken by the one before it."""
    monkeypatch.setattr(hooks, "say", lambda text, level="notice": None)
    folder, states = tmp_path / "hooks", tmp_path / "states"
    folder.joinpath("dns").mkdir(parents=True)
    wait = f"while [ $1 = backup ] && ! [ -e {tmp_path}/go ]; do sleep .05; done"
    _program(folder / "dns" / "note", f"echo $1 >>{tmp_path}/notes; {wait}; echo end >>{tmp_path}/notes")

    def moved(state: str, at: int) -> None:
        monkeypatch.setattr(hooks, "_started", lambda: at)
        hooks.moved("dns", state, folder, states, tmp_path)

    first = threading.Thread(target=moved, args=("BACKUP", 1))
    first.start()
    while not (tmp_path / "notes").exists():
        pass
    last = threading.Thread(target=moved, args=("FAULT", 3))
    last.start()
    while "fault" not in (states / ".dns.new").read_text():
        pass
    moved("MASTER", 2)
    time.sleep(0.3)  # for one that would not wait for the first
    (tmp_path / "go").touch()
    for thread in (first, last):
        thread.join()
    assert (tmp_path / "notes").read_text().split() == ["backup", "end", "fault", "end"]


def _program(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def test_only_what_floats_is_taken_away() -> None:
    links: list[dict[str, Any]] = [
        {},
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
        {
            "ifname": "eth0",
            "addr_info": [
                {"local": "192.0.2.11", "prefixlen": 24},
                {"local": "192.0.2.53", "prefixlen": 24},
                {"local": "fd00::53", "prefixlen": 64},
            ],
        },
    ]
    assert release.left([NAME], links) == [("eth0", "192.0.2.53/24"), ("eth0", "fd00::53/64")]


@pytest.mark.negative
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"interval": "x", "fall": 3, "rise": 2, "addresses": []}'])
def test_settings_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "floating.json"
    file.write_text(text)
    with pytest.raises(programs.library("errors").Trouble, match=r"/floating\.json: it ") as refused:
        settings.load(file)
    assert refused.value.hint == "`provision apply` writes it anew"
