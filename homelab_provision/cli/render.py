"""The stream of events on the terminal: a live tree where someone watches, plain lines where not.

Everything goes to standard error; standard output belongs to data. Whatever colour says, a word or a mark
says too. This is the only module that imports rich.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from homelab_provision.cli.running import COUNTED, RunningPhase, RunningStep
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
    Said,
    StepFinished,
    StepStarted,
    TaskFinished,
)
from homelab_provision.report.wording import (
    MARKS,
    RESULT_MARKS,
    place_of,
    scalar_text,
    seconds_text,
    step_parts,
)
from homelab_provision.text import clipped, one_line, printable

PLAIN_INTERVAL = 5.0  # seconds between two progress lines of one step
EVIDENCE_LINES = 20
NAME_COLUMN, TIME_COLUMN, BAR_COLUMN = 36, 9, 20
WIDTH_WITHOUT_BAR = 88  # mark, name, time, and "640 MB of 1.2 GB, 14 MB/s, 12 m 10 s left"
STYLES = {
    Outcome.OK: "green",
    Outcome.CHANGED: "yellow",
    Outcome.SKIPPED: "dim",
    Outcome.FAILED: "bold red",
    Outcome.UNREACHABLE: "bold red",
}
RESULT_STYLES = {
    RunResult.PROVEN: "bold green",
    RunResult.DONE: "bold green",
    RunResult.UNPROVEN: "bold yellow",
    RunResult.FAILED: "bold red",
    RunResult.REFUSED: "bold red",
    RunResult.DAMAGED: "bold red",
}
LONG_TEXTS = ("text", "error", "evidence", "hint", "message")  # of events; every other text is a name
LONGEST_TEXT = 200_000  # characters
SIZES = ("COLUMNS", "LINES")
DIFF_STYLES = {"+": "green", "-": "red"}
BAD = (Outcome.FAILED, Outcome.UNREACHABLE)


def renderer(
    *, phases: Sequence[str] = (), stream: TextIO | None = None, environ: Mapping[str, str] = os.environ
) -> Renderer:
    """The renderer that suits `stream` (standard error): a live tree on a terminal, plain lines elsewhere.

    `phases` are the names of all phases of the run, in order, so that what is still to come can be shown.
    """
    console = _console(stream, environ)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveRenderer(console, phases)
    return PlainRenderer(console)


def print_error(
    error: ProvisionError,
    *,
    log: Path | None = None,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """What failed, the last lines of evidence, a blank line, how to mend it, and where to read more."""
    console = _console(stream, environ)
    _say(console, Text.assemble(("error", "bold red"), ": ", clipped(printable(error.message), LONGEST_TEXT)))
    if error.evidence:
        for line in printable(error.evidence).strip("\n").splitlines()[-EVIDENCE_LINES:]:
            _say(console, Text.assemble(("  | ", "dim"), line))
    if error.hint or log:
        _say(console, Text())
    if error.hint:
        _say(console, Text.assemble(("hint", "bold cyan"), ": ", clipped(printable(error.hint))))
    if log:
        _say(console, Text.assemble(("log", "bold"), f": {log}"))


class CleanConsole(Console):
    """What reaches the terminal: no text, wherever it comes from, carries control of its own past this place."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def _console(stream: TextIO | None, environ: Mapping[str, str]) -> Console:
    return CleanConsole(
        file=stream or sys.stderr,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        no_color="NO_COLOR" in environ or None,
        _environ={name: value for name, value in environ.items() if name not in SIZES or _is_size(value)},
    )


def _is_size(text: str) -> bool:
    """Whether a terminal may have so many columns or lines: 0 is what a serial console says that knows no better."""
    return text.isascii() and text.isdigit() and 8 <= int(text[:5]) <= 2000


def _say(console: Console, line: RenderableType) -> None:
    """One line; long ones wrap in the terminal, not here, so that paths and digests can be copied whole."""
    console.print(line, soft_wrap=True)


def _cleaned(event: Event) -> Event:
    """The event with texts that stay in their row and column; names are one line."""
    texts = {
        name: clipped(printable(text), LONGEST_TEXT) if name in LONG_TEXTS else clipped(one_line(text))
        for name, text in event
        if isinstance(text, str) and not isinstance(text, StrEnum)
    }
    return event.model_copy(update=texts)


class Renderer:
    """Shows the events of a run. Used as a context manager; events may come from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.RLock()
        self._ascii = not (console.encoding or "").lower().startswith("utf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the display; whatever is unfinished stays as it was last seen."""

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._show(_cleaned(event))

    def _show(self, event: Event) -> None:
        raise NotImplementedError

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Leave the terminal to somebody else: a prompt, a shell on the machine."""
        yield

    def confirm(self, question: str, expected: str) -> None:
        """Ask the user to type `expected`. Anything else is a refusal."""
        answer = self._ask(f"{question} ")
        if not answer or answer != expected:
            raise Refused(f"not confirmed: wanted `{expected}`, got `{answer}`", hint="nothing has been changed")

    def ask(self, question: str) -> str:
        """Ask the user for a word."""
        return self._ask(f"{question} ")

    def choose(self, question: str, options: Sequence[str]) -> str:
        """Ask the user to type one of `options`, by its number or name."""
        listed = "".join(f"\n  {number}. {option}" for number, option in enumerate(options, 1))
        answer = self._ask(f"{question}{listed}\n> ")
        numbered = {str(number): option for number, option in enumerate(options, 1)}
        if (choice := numbered.get(answer, answer)) not in options:
            raise Refused(f"no such choice: `{answer}`", hint="nothing has been changed")
        return choice

    def _ask(self, prompt: str) -> str:
        if not (self._console.is_terminal and sys.stdin.isatty()):
            raise UsageError(
                f"there is no terminal to ask on: {prompt.strip()}",
                hint="run it in a terminal, or answer beforehand with options and `--yes`",
            )
        with self._lock, self.suspended():
            self._console.print(Text(printable(prompt), style="bold"), end="", soft_wrap=True)
            return sys.stdin.readline().strip()

    def _mark(self, outcome: Outcome) -> str:
        return outcome.value if self._ascii else MARKS[outcome]


class PlainRenderer(Renderer):
    """One line per start and end, a progress line now and then: for logs, pipes and CI."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._phase: RunningPhase | None = None
        self._said: dict[str, float] = {}

    def _show(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._line(f"{'resuming' if event.resumed else 'running'} {event.command}")
            case PhaseStarted():
                self._phase, self._said = RunningPhase(event.phase), {}
                self._line(f"{event.phase}: started")
            case PhaseFinished():
                self._line(f"{event.phase}: {event.result}, {seconds_text(event.seconds)}{_because(event.error)}")
                self._phase = None
            case StepStarted():
                self._line(self._where(event.name).removesuffix(": ") + " …")
            case StepFinished():
                self._line(f"{self._where(event.name)}{event.result}, {seconds_text(event.seconds)}")
            case Notice():
                self._line(f"warning: {event.text}" if event.level == "warning" else event.text)
            case RunFinished():
                self._line(f"{event.result} after {seconds_text(event.seconds)}")
            case Said():
                self._line(f"{event.host}: {event.task}{'' if event.what == 'message' else f' ({event.what})'}")
                for line in event.text.splitlines():
                    self._line(f"    {line}")
            case TaskFinished() if event.result in BAD:
                self._line(f"{self._where()}{event.host}: {event.task}: {event.result}{_because(event.message)}")
        if isinstance(event, Progress | TaskFinished):
            self._phase = self._phase or RunningPhase("")
            self._phase.take(event)
            self._progress(self._phase, event)

    def _progress(self, phase: RunningPhase, event: Progress | TaskFinished) -> None:
        """Say how far it is, at most every few seconds; the first time only after as long."""
        name = event.name if isinstance(event, Progress) and event.unit not in COUNTED else ""
        now = event.at.timestamp()
        if now - self._said.setdefault(name, now) >= PLAIN_INTERVAL:
            self._said[name] = now
            self._line(self._where(name) + (phase.progress_text(name) if name else phase.counted_text()))

    def _where(self, name: str = "") -> str:
        """What a line is about: `flash: write the image: `."""
        phase = self._phase.name if self._phase else ""
        steps = step_parts(name, phase) if name and name != phase else ()
        return "".join(f"{word}: " for word in (phase, *steps) if word)

    def _line(self, text: str) -> None:
        _say(self._console, Text(_ascii(text) if self._ascii else text))


class LiveRenderer(Renderer):
    """Finished phases scroll by and stay; the phase at work is redrawn below them."""

    def __init__(self, console: Console, phases: Sequence[str] = ()) -> None:
        super().__init__(console)
        self._to_come = list(phases)
        self._phase: RunningPhase | None = None
        self._spinner = Spinner("line" if self._ascii else "dots", style="cyan")
        self._live = Live(
            console=console,
            refresh_per_second=8,
            transient=True,
            get_renderable=self._frame,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._live.stop()
            self._leave()  # what was at work when it was interrupted stays visible

    def _leave(self) -> None:
        """Write down a phase that will not be told to have ended, or steps that belong to none."""
        if phase := self._phase:
            end = PhaseFinished(phase=phase.name, result=Outcome.FAILED, seconds=phase.elapsed(), error="not finished")
            self._console.print(self._tree(phase, end))
        self._phase = None

    @contextmanager
    def suspended(self) -> Iterator[None]:
        running = self._live.is_started
        self._live.stop()
        try:
            yield
        finally:
            if running:
                self._live.start(refresh=True)

    def _show(self, event: Event) -> None:
        match event:
            case RunStarted():
                verb = "resuming" if event.resumed else "running"
                _say(self._console, Text.assemble((verb, "dim"), " ", (event.command, "bold")))
            case PhaseStarted():
                self._leave()
                self._phase = RunningPhase(event.phase)
                if event.phase in self._to_come:
                    del self._to_come[: self._to_come.index(event.phase) + 1]
            case PhaseFinished():
                self._phase_finished(event)
            case Notice() if event.level == "warning":
                _say(self._console, Text.assemble(("warning", "bold yellow"), ": ", event.text))
            case Notice():
                _say(self._console, Text(event.text))
            case Said():
                self._said(event)
            case RunFinished():
                self._run_finished(event)
            case TaskFinished() if event.result in BAD:
                line = f"{event.host}: {event.task}{_because(event.message)}"
                _say(self._console, Text.assemble("    ", self._label(event.result), " ", line))
        if isinstance(event, StepStarted | StepFinished | Progress | TaskFinished):
            self._phase = self._phase or RunningPhase("")
            self._phase.take(event)
            if isinstance(event, StepFinished) and not self._phase.name and not self._phase.at_work():
                self._leave()

    def _said(self, event: Said) -> None:
        kind = "" if event.what == "message" else f" ({event.what})"
        _say(self._console, Text.assemble((f"{event.host}: ", "dim"), (event.task, "bold"), (kind, "dim")))
        for line in event.text.splitlines():
            style = DIFF_STYLES.get(line[:1], "") if event.what == "diff" else ""
            _say(self._console, Text(f"    {line}", style=style))

    def _phase_finished(self, event: PhaseFinished) -> None:
        phase = self._phase if self._phase and self._phase.name == event.phase else RunningPhase(event.phase)
        phase.seconds = event.seconds
        self._phase = None
        self._to_come = [name for name in self._to_come if name != event.phase]
        self._console.print(self._tree(phase, event))

    def _run_finished(self, event: RunFinished) -> None:
        mark = "" if self._ascii else f"{RESULT_MARKS[event.result]} "
        style = RESULT_STYLES[event.result]
        _say(self._console, Text.assemble((f"{mark}{event.result}", style), f" after {seconds_text(event.seconds)}"))

    def _label(self, outcome: Outcome) -> Text:
        return Text(self._mark(outcome), style=STYLES[outcome])

    def _frame(self) -> RenderableType:
        with self._lock:
            parts: list[RenderableType] = [self._tree(self._phase, None)] if self._phase else []
            if self._to_come:
                parts.append(Text("  then " + ", ".join(self._to_come), style="dim", no_wrap=True, overflow="ellipsis"))
            return Group(*parts)

    def _tree(self, phase: RunningPhase, end: PhaseFinished | None) -> Table:
        """A phase and its steps as rows: mark, name, seconds, and what is to be said about it."""
        mark_column, name_column = 7 if self._ascii else 1, min(NAME_COLUMN, self._console.width // 2)
        rest = self._console.width - mark_column - name_column - TIME_COLUMN - 3
        table = Table.grid(padding=(0, 1))
        table.add_column(width=mark_column)
        table.add_column(no_wrap=True, overflow="ellipsis", width=name_column)
        table.add_column(justify="right", width=TIME_COLUMN, no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(rest, 1))
        if phase.name:
            mark = self._label(end.result) if end else self._spinner
            saying = _ending(end) if end else Text(phase.saying(phase.name), style="cyan")
            table.add_row(mark, Text(phase.name, style="bold"), _time(phase.elapsed(), end), saying)
        steps = phase.steps if end else phase.steps_that_fit(max(self._console.height - 6, 4))
        for step in steps:
            table.add_row(*self._step_row(phase, step, done=end is not None))
        return table

    def _step_row(self, phase: RunningPhase, step: RunningStep, *, done: bool) -> tuple[RenderableType, ...]:
        depth, label = place_of(step.path, {other.path for other in phase.steps})
        indent = "  " * (depth + bool(phase.name))
        if step.result or done:
            name = Text.assemble(indent, self._label(step.result or Outcome.FAILED), f" {label}")
            return ("", name, Text(seconds_text(step.elapsed()), style="dim"), "")
        bullet = "> " if self._ascii else "• "
        name = Text.assemble(indent, (bullet, "cyan"), label)
        return ("", name, Text(seconds_text(step.elapsed())), self._moving(phase, step))

    def _moving(self, phase: RunningPhase, step: RunningStep) -> RenderableType:
        text = Text(phase.saying("/".join(step.path)), style="cyan")
        share = phase.share("/".join(step.path))
        width = max(min(self._console.width - WIDTH_WITHOUT_BAR, BAR_COLUMN), 0)
        if share is None or width < 5:
            return text
        bar = Table.grid(padding=(0, 1))
        bar.add_column(width=width)
        bar.add_column(no_wrap=True, overflow="ellipsis")
        bar.add_row(ProgressBar(total=1.0, completed=share, width=width), text)
        return bar


def _time(seconds: float, end: PhaseFinished | None) -> Text:
    return Text(seconds_text(seconds), style="dim" if end else "")


def _ending(end: PhaseFinished) -> Text:
    """What a phase ends with: its error, or the plain facts among its proofs."""
    if end.error:
        return Text(_first_line(end.error), style="red")
    facts = {key: value for key, value in end.proof.items() if not isinstance(value, dict | list)}
    return Text(scalar_text(facts) if facts else "", style="dim")


def _because(reason: str | None) -> str:
    first = _first_line(reason or "")
    return f": {first}" if first else ""


def _first_line(text: str) -> str:
    return clipped(next(iter(text.strip().splitlines()), ""))


def _ascii(text: str) -> str:
    return text.replace("…", "...").encode("ascii", "replace").decode()
