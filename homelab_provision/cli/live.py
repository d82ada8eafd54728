"""The events of a run on a terminal: a live tree of what is at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from homelab_provision.cli.running import RunningPhase, RunningStep
from homelab_provision.cli.terminal import BAD, Renderer, because, first_line, say
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
from homelab_provision.report.wording import RESULT_MARKS, place_of, scalar_text, seconds_text

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
DIFF_STYLES = {"+": "green", "-": "red"}


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
        # One lock for both: whoever prints needs that of the display, and whoever draws it needs ours.
        self._lock = self._live._lock

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
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
                say(self._console, Text.assemble((verb, "dim"), " ", (event.command, "bold")))
            case PhaseStarted():
                self._leave()
                self._phase = RunningPhase(event.phase)
                if event.phase in self._to_come:
                    del self._to_come[: self._to_come.index(event.phase) + 1]
            case PhaseFinished():
                self._phase_finished(event)
            case Notice() if event.level == "warning":
                say(self._console, Text.assemble(("warning", "bold yellow"), ": ", event.text))
            case Notice():
                say(self._console, Text(event.text))
            case Said():
                self._said(event)
            case RunFinished():
                self._run_finished(event)
            case TaskFinished() if event.result in BAD:
                line = f"{event.host}: {event.task}{because(event.message)}"
                say(self._console, Text.assemble("    ", self._label(event.result), " ", line))
        if isinstance(event, StepStarted | StepFinished | Progress | TaskFinished):
            self._phase = self._phase or RunningPhase("")
            self._phase.take(event)
            if isinstance(event, StepFinished) and not self._phase.name and not self._phase.at_work():
                self._leave()

    def _said(self, event: Said) -> None:
        kind = "" if event.what == "message" else f" ({event.what})"
        say(self._console, Text.assemble((f"{event.host}: ", "dim"), (event.task, "bold"), (kind, "dim")))
        for line in event.text.splitlines():
            style = DIFF_STYLES.get(line[:1], "") if event.what == "diff" else ""
            say(self._console, Text(f"    {line}", style=style))

    def _phase_finished(self, event: PhaseFinished) -> None:
        phase = self._phase if self._phase and self._phase.name == event.phase else RunningPhase(event.phase)
        phase.seconds = event.seconds
        self._phase = None
        self._to_come = [name for name in self._to_come if name != event.phase]
        self._console.print(self._tree(phase, event))

    def _run_finished(self, event: RunFinished) -> None:
        mark = "" if self._ascii else f"{RESULT_MARKS[event.result]} "
        style = RESULT_STYLES[event.result]
        say(self._console, Text.assemble((f"{mark}{event.result}", style), f" after {seconds_text(event.seconds)}"))

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
            time = Text(seconds_text(phase.elapsed()), style="dim" if end else "")
            table.add_row(mark, Text(phase.name, style="bold"), time, saying)
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


def _ending(end: PhaseFinished) -> Text:
    """What a phase ends with: its error, or the plain facts among its proofs."""
    if end.error:
        return Text(first_line(end.error), style="red")
    facts = {key: value for key, value in end.proof.items() if not isinstance(value, dict | list)}
    return Text(scalar_text(facts) if facts else "", style="dim")
