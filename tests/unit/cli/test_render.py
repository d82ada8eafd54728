from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from homelab_provision.cli.live import LiveRenderer
from homelab_provision.cli.plain import PlainRenderer
from homelab_provision.cli.render import print_error, renderer
from homelab_provision.cli.running import Gauge, RunningPhase
from homelab_provision.cli.terminal import CleanConsole, Renderer
from homelab_provision.errors import ProvisionError, Refused, UsageError
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
    StepFinished,
    StepStarted,
    TaskFinished,
)
from homelab_provision.text import printable

START = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "24"}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Log(io.StringIO):
    encoding = "utf-8"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def plain(*events: Event) -> list[str]:
    log = Log()
    with renderer(stream=log, environ={}) as show:
        assert isinstance(show, PlainRenderer)
        for event in events:
            show(event)
    return log.getvalue().splitlines()


def live(*events: Event, phases: tuple[str, ...] = (), environ: dict[str, str] = TERMINAL) -> str:
    terminal = Terminal()
    with renderer(stream=terminal, environ=environ, phases=phases) as show:
        assert isinstance(show, LiveRenderer)
        for event in events:
            show(event)
    return terminal.getvalue()


def test_a_dumb_terminal_and_a_pipe_get_plain_lines() -> None:
    assert isinstance(renderer(stream=Terminal(), environ={"TERM": "dumb"}), PlainRenderer)
    assert isinstance(renderer(stream=Log(), environ=TERMINAL), PlainRenderer)
    assert isinstance(renderer(stream=Terminal(), environ=TERMINAL), LiveRenderer)


def test_plain_lines_tell_every_start_and_end() -> None:
    assert plain(
        RunStarted(command="rebuild db-wyse"),
        PhaseStarted(phase="flash"),
        StepStarted(name="write the image"),
        StepStarted(name="flash/write the image/wipe"),
        StepFinished(name="flash/write the image/wipe", result=Outcome.OK, seconds=0.5),
        StepFinished(name="write the image", result=Outcome.OK, seconds=44),
        Notice(level="warning", text="the link runs at 100 Mb/s"),
        PhaseFinished(phase="flash", result=Outcome.FAILED, seconds=46.1, error="digest differs\nmore"),
        RunFinished(result=RunResult.FAILED, seconds=46.2, error="flash: digest differs"),
    ) == [
        "running rebuild db-wyse",
        "flash: started",
        "flash: write the image …",
        "flash: write the image: wipe …",
        "flash: write the image: wipe: ok, 0.5 s",
        "flash: write the image: ok, 44 s",
        "warning: the link runs at 100 Mb/s",
        "flash: failed, 46 s: digest differs",
        "failed after 46 s",
    ]


def test_plain_progress_comes_every_five_seconds_with_its_rate() -> None:
    ticks = [Progress(at=at(n / 2), name="write the image", done=7e6 * n, total=640e6) for n in range(41)]
    lines = plain(PhaseStarted(phase="flash"), *ticks)
    assert lines == [
        "flash: started",
        "flash: write the image: 70 MB of 640 MB, 14 MB/s, 41 s left",
        "flash: write the image: 140 MB of 640 MB, 14 MB/s, 36 s left",
        "flash: write the image: 210 MB of 640 MB, 14 MB/s, 31 s left",
        "flash: write the image: 280 MB of 640 MB, 14 MB/s, 26 s left",
    ]


def test_plain_waiting_tells_the_deadline() -> None:
    ticks = [Progress(at=at(n), name="wait for the rescue", done=n, total=180, unit="seconds") for n in range(7)]
    assert plain(PhaseStarted(phase="boot"), *ticks)[1:] == ["boot: wait for the rescue: 5.0 s, at most 3 m 00 s"]


def task(seconds: float, name: str, result: Outcome = Outcome.OK, message: str | None = None) -> TaskFinished:
    return TaskFinished(
        at=at(seconds), play="site", task=name, host="db-wyse", result=result, seconds=1, message=message
    )


def test_plain_tasks_are_counted_and_a_failed_one_is_told_at_once() -> None:
    lines = plain(
        PhaseStarted(phase="converge"),
        *(task(n, f"base : Task {n}", Outcome.CHANGED if n % 2 else Outcome.OK) for n in range(7)),
        task(7, "base : Mount", Outcome.FAILED, "no such disk"),
    )
    assert lines[1:] == [
        "converge: 6 tasks, 3 changed, base : Task 5",
        "converge: db-wyse: base : Mount: failed: no such disk",
    ]


def test_plain_tests_are_counted_whatever_they_are_called() -> None:
    ticks = [Progress(at=at(n), name=f"base/test_srv[{n}/x]", done=n, total=43, unit="tests") for n in range(6)]
    assert plain(PhaseStarted(phase="verify"), *ticks)[1:] == ["verify: 5 of 43 tests, base/test_srv[5/x]"]


def test_plain_steps_outside_of_a_phase() -> None:
    lines = plain(
        StepStarted(name="rescue/packages"),
        *(Progress(at=at(n), name="rescue/packages", done=n * 1e6) for n in range(6)),
        StepFinished(name="rescue/packages", result=Outcome.OK, seconds=6),
    )
    assert lines == [
        "rescue: packages …",
        "rescue: packages: 5.0 MB, 1.0 MB/s",
        "rescue: packages: ok, 6.0 s",
    ]


def test_the_live_tree_keeps_finished_phases_and_names_those_to_come() -> None:
    shown = live(
        PhaseStarted(phase="preflight"),
        StepStarted(name="check the image"),
        StepFinished(name="check the image", result=Outcome.OK, seconds=0.7),
        PhaseFinished(phase="preflight", result=Outcome.OK, seconds=1.2, proof={"disk": "S3YJ", "more": {"a": 1}}),
        PhaseStarted(phase="flash"),
        StepStarted(name="write the image"),
        Progress(at=at(0), name="write the image", done=0, total=640e6),
        Progress(at=at(2), name="write the image", done=120e6, total=640e6),
        phases=("preflight", "flash", "verify"),
    )
    shown = printable(shown)
    assert "✓ preflight" in shown
    assert "✓ check the image" in shown
    assert "disk: S3YJ" in shown
    assert "• write the image" in shown
    assert "120 MB of 640 MB, 60 MB/s, 8.7 s left" in shown
    assert "then verify" in shown


def test_no_color_means_none_but_marks_stay() -> None:
    events: list[Event] = [
        PhaseFinished(phase="verify", result=Outcome.FAILED, seconds=1, error="1 test failed"),
        RunFinished(result=RunResult.UNPROVEN, seconds=1),
    ]
    colourful = live(*events)
    colourless = live(*events, environ=TERMINAL | {"NO_COLOR": ""})
    assert "\x1b[31m" in colourful or "\x1b[1;31m" in colourful
    assert "\x1b[31m" not in colourless
    assert "1;31m" not in colourless
    assert "✗" in colourless
    assert "≠ unproven after 1.0 s" in printable(colourless)


def test_an_interrupted_phase_stays_visible() -> None:
    terminal = Terminal()
    with renderer(stream=terminal, environ=TERMINAL) as show:
        show(PhaseStarted(phase="boot"))
        show(StepStarted(name="wait for the rescue"))
    assert "wait for the rescue" in terminal.getvalue().rpartition("\x1b[2K")[2]
    assert terminal.getvalue().endswith("\n")


def test_a_terminal_without_unicode_gets_words() -> None:
    class Old(Terminal):
        encoding = "ascii"

    terminal = Old()
    with renderer(stream=terminal, environ=TERMINAL) as show:
        show(PhaseStarted(phase="boot"))
        show(StepStarted(name="wait"))
        show(PhaseFinished(phase="boot", result=Outcome.OK, seconds=1))
        show(RunFinished(result=RunResult.PROVEN, seconds=1))
    assert terminal.getvalue().isascii()
    assert "proven" in terminal.getvalue()


def test_an_error_is_message_evidence_blank_hint() -> None:
    log = Log()
    evidence = "\n".join(f"line {n}" for n in range(30)) + "\n\x1b[31mred\x1b[0m [bold]x[/bold]"
    error = ProvisionError("flash on db-wyse: the digest differs", hint="run it again", evidence=evidence)
    print_error(error, stream=log, environ={})
    lines = log.getvalue().splitlines()
    assert lines[0] == "error: flash on db-wyse: the digest differs"
    assert lines[1] == "  | line 11"
    assert lines[-4:] == ["  | line 29", "  | red [bold]x[/bold]", "", "hint: run it again"]


def test_long_lines_are_not_broken() -> None:
    log = Log()
    print_error(ProvisionError("x" * 300), stream=log, environ={"COLUMNS": "80"})
    assert log.getvalue() == f"error: {'x' * 300}\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Renderer:
    stdin = Terminal("db-wyse\n")
    monkeypatch.setattr(sys, "stdin", stdin)
    return renderer(stream=Terminal(), environ=TERMINAL)


def test_the_name_of_the_host_confirms(asked: Renderer) -> None:
    with asked:
        asked.confirm("Type `db-wyse`:", "db-wyse")


@pytest.mark.negative
def test_anything_else_refuses(asked: Renderer) -> None:
    with asked, pytest.raises(Refused, match="wanted `web-wyse`, got `db-wyse`"):
        asked.confirm("Type `web-wyse`:", "web-wyse")


@pytest.mark.negative
def test_nothing_typed_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    with renderer(stream=Terminal(), environ=TERMINAL) as show, pytest.raises(Refused):
        show.confirm("Type the serial number:", "")


@pytest.mark.parametrize(("typed", "chosen"), [("2", "wyse-b"), ("wyse-a", "wyse-a")])
def test_a_choice_by_number_or_name(monkeypatch: pytest.MonkeyPatch, typed: str, chosen: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(f"{typed}\n"))
    assert renderer(stream=Terminal(), environ=TERMINAL).choose("Which?", ["wyse-a", "wyse-b"]) == chosen


@pytest.mark.negative
def test_nobody_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("db-wyse\n"))
    with pytest.raises(UsageError, match="no terminal"):
        renderer(stream=Terminal(), environ=TERMINAL).confirm("Type it", "db-wyse")
    monkeypatch.setattr(sys, "stdin", Terminal("db-wyse\n"))
    with pytest.raises(UsageError, match="no terminal"):
        renderer(stream=Log(), environ=TERMINAL).confirm("Type it", "db-wyse")


def test_whoever_prints_and_whoever_draws_do_not_wait_for_each_other() -> None:
    """The display is drawn by a thread of its own, which asks for what an event is about to change."""
    terminal, at_work, drawing = Terminal(), threading.Event(), threading.Event()
    show = renderer(stream=terminal, environ=TERMINAL)
    assert isinstance(show, LiveRenderer)

    def tell() -> None:
        with show._lock:
            at_work.set()
            drawing.wait(10)
            time.sleep(0.2)  # it comes as far as it can
            show(Notice(text="said"))

    def draw() -> None:
        at_work.wait(10)
        drawing.set()
        show._live.refresh()

    threads = [threading.Thread(target=work, daemon=True) for work in (tell, draw)]
    show.__enter__()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    show.__exit__()
    assert "said" in terminal.getvalue()


def test_a_rate_is_that_of_the_last_seconds_and_a_second_pass_starts_over() -> None:
    gauge = Gauge()
    for second in range(31):  # slow, then fast
        gauge.take(
            Progress(at=at(second), name="x", done=second * 1e6 if second < 15 else (second - 14) * 1e7, total=1e9)
        )
    assert gauge.rate() == pytest.approx(1e7)
    gauge.take(Progress(at=at(32), name="x", done=0, total=1e9))
    assert gauge.rate() is None


def test_the_open_steps_are_shown_even_on_a_small_terminal() -> None:
    phase = RunningPhase("preflight")
    for number in range(20):
        phase.take(StepStarted(name=f"step {number}"))
        if number != 3:
            phase.take(StepFinished(name=f"step {number}", result=Outcome.OK, seconds=1))
    assert [step.path[-1] for step in phase.steps_that_fit(4)] == ["step 3", "step 17", "step 18", "step 19"]


@pytest.mark.processes
def test_standard_output_is_never_touched() -> None:
    script = """
from homelab_provision.cli.render import print_error, renderer
from homelab_provision.errors import ProvisionError
from homelab_provision.events import PhaseStarted
with renderer() as show:
    show(PhaseStarted(phase="boot"))
print_error(ProvisionError("no"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == ""
    assert done.stderr == "boot: started\nerror: no\n"


# ---- text from outside ---------------------------------------------------------------------------------------

EVIL = "\x1b]52;c;cm0gLXJmIC8=\x07\x1b[2J\u202e[red]x[/red]\r\n\x1b]0;"


def hostile() -> list[Event]:
    """Every text of every event, as somebody would write it who wants the terminal."""
    return [
        RunStarted(command=EVIL),
        PhaseStarted(phase=f"flash{EVIL}"),
        StepStarted(name=f"write{EVIL}"),
        Progress(at=at(0), name=f"write{EVIL}", done=1, total=2, unit=EVIL),
        Progress(at=at(9), name=f"write{EVIL}", done=2, total=2, unit=EVIL),
        Progress(at=at(9), name=EVIL, done=2, total=2, unit="tasks"),
        StepFinished(name=f"write{EVIL}", result=Outcome.OK, seconds=1),
        TaskFinished(play=EVIL, task=EVIL, host=EVIL, result=Outcome.FAILED, seconds=1, message=EVIL),
        Notice(text=EVIL),
        Notice(level="warning", text=EVIL),
        PhaseFinished(phase=f"flash{EVIL}", result=Outcome.OK, seconds=1, proof={EVIL: EVIL, "l": [EVIL]}),
        PhaseFinished(phase="x", result=Outcome.FAILED, seconds=1, error=EVIL, evidence=EVIL, hint=EVIL),
        RunFinished(result=RunResult.FAILED, seconds=1, error=EVIL),
    ]


@pytest.mark.negative
def test_nothing_from_outside_controls_the_terminal() -> None:
    shown = "\n".join(plain(*hostile()))
    assert printable(shown) == shown
    told = live(*hostile(), environ={**TERMINAL, "NO_COLOR": "1"})
    for sequence in ("\x1b]", "\x1b[2J", "52;c;", "\u202e", "\r\n"):
        assert sequence not in told
    assert "[red]x[/red]" in shown


@pytest.mark.negative
def test_a_name_with_line_ends_stays_in_its_row() -> None:
    lines = plain(StepStarted(name="a\nerror: all is lost"), StepFinished(name="a\nb", result=Outcome.OK, seconds=1))
    assert lines == ["a error: all is lost …", "a b: ok, 1.0 s"]


@pytest.mark.negative
def test_errors_and_questions_are_clean_too() -> None:
    log = Log()
    print_error(ProvisionError(f"disk {EVIL}", hint=EVIL, evidence=EVIL), stream=log, environ={})
    assert printable(log.getvalue()) == log.getvalue()
    assert "disk [red]x[/red]" in log.getvalue()
    console = Log()
    CleanConsole(file=console, markup=False).print(EVIL)  # whatever forgets to clean its words
    assert printable(console.getvalue()) == console.getvalue()


@pytest.mark.parametrize("columns", ["0", "-1", "1", "7", "x", "99999999999", "²"])
def test_a_terminal_of_no_sensible_width_shows_everything(columns: str) -> None:
    environ = {**TERMINAL, "COLUMNS": columns, "LINES": columns}
    told = live(PhaseStarted(phase="boot"), PhaseFinished(phase="boot", result=Outcome.OK, seconds=1), environ=environ)
    assert "boot" in told
    assert len(told) < 100_000
    log = Log()
    print_error(UsageError("no site here"), stream=log, environ={"COLUMNS": columns})
    assert log.getvalue() == "error: no site here\n"
