"""`provision rebuild` with several hosts: what it is asked, what it shows, and how it ends."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.cli.many import ManyLive, ManyPlain, renderer_of_many
from homelab_provision.errors import Refused
from homelab_provision.events import (
    Event,
    Notice,
    Outcome,
    PhaseFinished,
    PhaseStarted,
    Progress,
    RunFinished,
    RunResult,
    RunStarted,
    StepStarted,
    TaskFinished,
)
from homelab_provision.jobs import many
from homelab_provision.jobs import rebuild as job
from homelab_provision.runs import store
from homelab_provision.runs.store import Request, Run
from tests.unit.cli.command import KEYS, Provision, proven_journal, provision, site

__all__ = ["provision", "site"]  # fixtures

HOSTS = ("db-wyse", "web-wyse")  # of the site: the one has a machine, the other gets the spare


@pytest.fixture
def errors(site: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception]:
    """What stops the rebuild of a host; all others end proven at once."""
    stops: dict[str, Exception] = {}

    def rebuild(asked: Request, *, emit: Callable[[Event], None], begun: Callable[[Run], None], **options: Any) -> Run:
        run = store.start(asked)
        begun(run)
        for event in proven_journal().events if asked.host not in stops else [PhaseStarted(phase="flash")]:
            run.append(event)
            emit(event)
        if asked.host in stops:
            raise stops[asked.host]
        return run

    @contextmanager
    def session(*words: Any, **options: Any) -> Iterator[None]:
        yield None

    monkeypatch.setattr(job, "rebuild", rebuild)
    monkeypatch.setattr(many, "session", session)
    return stops


# ---- the command ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("errors")
@pytest.mark.parametrize("words", [HOSTS, ("--all",)], ids=["named", "all"])
def test_several_end_with_a_table_of_all(provision: Provision, words: tuple[str, ...]) -> None:
    shown = provision("rebuild", *words, "--yes")
    assert (shown.code, shown.out) == (0, "")
    lines = shown.err.splitlines()
    assert "db-wyse: wyse-a (serial AAA0001), through usb; erases the whole disk, SYS-A" in lines
    assert any(line.startswith("db-wyse: boot: ok, ") for line in lines)
    assert any(line.startswith("web-wyse: proven after ") for line in lines)
    assert sum(line.startswith("report: /") for line in lines) == 2
    table = [line.split()[:3] for line in lines[-4:-1]]
    assert table[0] == ["host", "machine", "result"]
    assert sorted(table[1:]) == [["db-wyse", "wyse-a", "proven"], ["web-wyse", "wyse-b", "proven"]]
    assert lines[-1].startswith("2 proven after ")


@pytest.mark.negative
def test_what_failed_is_told_with_its_host_and_the_way_on(provision: Provision, errors: dict[str, Exception]) -> None:
    errors["web-wyse"] = Refused("not this disk", hint="look at it", evidence="it has a file system")
    shown = provision("rebuild", *HOSTS, "--yes")
    assert shown.code == 5
    for line in ("error: web-wyse: not this disk", "  | it has a file system", "hint: look at it"):
        assert line in shown.err.splitlines()
    assert re.search(r"^web-wyse +wyse-b +failed .* provision rebuild web-wyse --resume$", shown.err, re.M)
    assert re.search(r"^1 proven, 1 failed after|^1 failed, 1 proven after", shown.err, re.M)


@pytest.mark.negative
def test_a_bug_of_one_is_no_traceback(provision: Provision, errors: dict[str, Exception]) -> None:
    errors["db-wyse"] = ZeroDivisionError("hunter2")
    shown = provision("rebuild", *HOSTS, "--yes")
    assert shown.code == 1
    assert "error: db-wyse: a bug in provision: ZeroDivisionError" in shown.err
    assert "hunter2" not in shown.err


@pytest.mark.usefixtures("errors")
def test_json_is_a_list_of_runs_alone_on_standard_output(provision: Provision) -> None:
    shown = provision("rebuild", *HOSTS, "--yes", "--json")
    told = json.loads(shown.out)
    assert sorted(one["host"] for one in told) == sorted(HOSTS)
    assert [list(one) for one in told] == [KEYS, KEYS]


@pytest.mark.usefixtures("errors")
def test_the_plan_of_several_changes_nothing(provision: Provision) -> None:
    shown = provision("rebuild", *HOSTS, "--plan", "--json", "--keep-data")
    assert shown.code == 3
    assert json.loads(shown.out)[0] == {
        "host": "db-wyse",
        "machine": "wyse-a",
        "way": "usb",
        "disks": ["SYS-A"],
        "keep_data": True,
        "after": {},
    }
    table = provision("rebuild", *HOSTS, "--plan").out.splitlines()
    assert table[0].split() == ["host", "machine", "disk", "erases", "way", "after"]
    assert table[2].split() == ["web-wyse", "wyse-b", "SYS-B", "the", "whole", "disk", "usb"]
    assert store.everything() == []


@pytest.mark.negative
@pytest.mark.usefixtures("errors")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*HOSTS, "--onto", "wyse-b"), "--onto is for one host"),
        ((*HOSTS, "--resume=0042"), "--resume is for one host"),
        ((*HOSTS, "--resume"), "--resume is for one host"),
        ((*HOSTS, "--from", "flash"), "--from is for one host"),
        ((*HOSTS, "--confirm-code", "BCDF-GHJK"), "a code is for one host"),
        ((HOSTS[0], HOSTS[0]), "`db-wyse` is named twice"),
        ((HOSTS[0], "--all"), "`--all` names every host already"),
        (("--all", "--json"), "add --yes"),
        ((), "Missing argument 'HOST'"),
    ],
    ids=str,
)
def test_what_does_not_go_with_several_is_refused(provision: Provision, words: tuple[str, ...], said: str) -> None:
    shown = provision("rebuild", *words)
    assert (shown.code, shown.out) == (2, "")
    assert said in shown.err
    assert store.everything() == []


@pytest.mark.negative
@pytest.mark.usefixtures("errors")
def test_without_a_terminal_nobody_agrees(provision: Provision) -> None:
    shown = provision("rebuild", *HOSTS)
    assert shown.code == 2
    assert "Type `rebuild 2`" in shown.err
    assert store.everything() == []


# ---- the lines -----------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def drawn(*events: tuple[str, Event], columns: int = 80, encoding: str = "utf-8") -> list[str]:
    """What stands on a terminal when all is over: a line for each of three hosts, below what was said."""
    terminal = Terminal()
    terminal.encoding = encoding
    waits = {"nas": "", "db-wyse": "after nas", "web-wyse": ""}
    environ = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "24"}
    with renderer_of_many(waits, stream=terminal, environ=environ) as show:
        assert isinstance(show, ManyLive)
        for host, event in events:
            show.of(host)(event)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    return [line.rstrip() for line in text.replace("\r", "").split("\n") if line.strip()]


BEGINNING: list[tuple[str, Event]] = [
    ("nas", RunStarted(command="rebuild nas")),
    ("nas", PhaseStarted(phase="flash")),
    ("nas", StepStarted(name="write the image")),
    ("nas", Progress(name="write the image", done=120e6, total=640e6)),
    ("web-wyse", RunStarted(command="rebuild web-wyse")),
    ("web-wyse", PhaseStarted(phase="converge")),
    (
        "web-wyse",
        TaskFinished(play="p", task="base : Mount", host="web-wyse", result=Outcome.CHANGED, seconds=1),
    ),
]


def test_each_host_has_a_line_with_its_phase_time_and_last_word() -> None:
    last = drawn(*BEGINNING)[-3:]
    assert re.fullmatch(r"• nas +flash +[\d.]+ s write the image: 120 MB of 640 MB", last[0]), last
    assert re.fullmatch(r" +db-wyse +after nas", last[1])
    assert re.fullmatch(r"• web-wyse +converge +[\d.]+ s 1 tasks, 1 changed, base : Mount", last[2])


def test_an_end_is_told_by_mark_and_word() -> None:
    failed = PhaseFinished(phase="flash", result=Outcome.FAILED, seconds=3, error="digest differs\nmore")
    last = drawn(
        *BEGINNING,
        ("nas", failed),
        ("nas", RunFinished(result=RunResult.FAILED, seconds=63, error="digest differs\nmore")),
        ("db-wyse", RunFinished(result=RunResult.FAILED, seconds=0, error="not begun: it needs nas")),
        ("web-wyse", RunFinished(result=RunResult.PROVEN, seconds=250)),
    )[-3:]
    assert re.fullmatch(r"✗ nas +flash +1 m 03 s digest differs", last[0]), last
    assert re.fullmatch(r"✗ db-wyse +not begun: it needs nas", last[1])
    assert re.fullmatch(r"✓ web-wyse +converge +4 m 10 s proven", last[2])


@pytest.mark.parametrize("columns", [20, 36, 40, 60])
def test_a_narrow_terminal_has_a_line_for_each_host_all_the_same(columns: int) -> None:
    last = drawn(*BEGINNING, columns=columns)[-3:]
    assert all(len(line) <= columns for line in last)
    assert [line[2:5] for line in last] == ["nas", "db-", "web"]
    assert last[0].split()[:3] == ["•", "nas", "flash"]
    assert (len(last[0].split()) > 3) == (columns >= 40), "no half of a word"


def test_a_terminal_without_utf_8_gets_words() -> None:
    done = ("nas", RunFinished(result=RunResult.PROVEN, seconds=250))
    last = drawn(*BEGINNING, done, encoding="ascii")[-3:]
    assert last[0].startswith("proven")
    assert all(line.replace("…", "...").isascii() for line in last)


def test_notices_and_failed_tasks_are_said_above_with_their_host() -> None:
    bad = TaskFinished(play="p", task="base : Mount", host="nas", result=Outcome.FAILED, seconds=1, message="no disk")
    text = "\n".join(
        drawn(
            ("nas", Notice(text="At box-3: switch it off.")),
            ("nas", Notice(level="warning", text="the link is slow")),
            ("nas", bad),
        )
    )
    assert "nas: At box-3: switch it off.\n" in text
    assert "nas: warning: the link is slow\n" in text
    assert "nas: base : Mount: failed: no disk\n" in text


def test_elsewhere_each_line_has_the_name_of_its_host() -> None:
    log = io.StringIO()
    with renderer_of_many({"nas": ""}, stream=log, environ={}) as show:
        assert isinstance(show, ManyPlain)
        show(Notice(text="of all"))
        told = show.of("nas"), show.of("db-wyse")
        for emit, phase in zip(told, ("flash", "boot"), strict=True):
            emit(PhaseStarted(phase=phase))
            emit(StepStarted(name="start"))
    assert log.getvalue().splitlines() == [
        "of all",
        "nas: flash: started",
        "nas: flash: start …",
        "db-wyse: boot: started",
        "db-wyse: boot: start …",
    ]


def test_the_others_go_on_while_one_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who is away must not hold up a write; what is said meanwhile comes when the question is answered."""
    reader, writer = os.pipe()

    class Keyboard(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Keyboard(os.fdopen(reader, "rb")))
    terminal, answers = Terminal(), list[str]()
    environ = {"TERM": "xterm-256color", "COLUMNS": "80"}
    with renderer_of_many({"nas": "", "web-wyse": ""}, stream=terminal, environ=environ) as show:
        thread = threading.Thread(target=lambda: answers.append(show.ask("The code:")))
        thread.start()
        while "The code:" not in terminal.getvalue():
            assert thread.is_alive()
        emit = show.of("web-wyse")
        other = threading.Thread(target=lambda: [emit(RunStarted(command="x")), emit(Notice(text="said meanwhile"))])
        other.start()
        other.join(timeout=30)
        assert not other.is_alive(), "it waits for the person"
        assert "said meanwhile" not in terminal.getvalue()
        os.write(writer, b"BCDF-GHJK\n")
        thread.join(timeout=30)
    os.close(writer)
    assert answers == ["BCDF-GHJK"]
    assert terminal.getvalue().index("The code:") < terminal.getvalue().index("said meanwhile")
