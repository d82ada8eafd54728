"""The events of several rebuilds at once: a line each on a terminal, and elsewhere the lines of each with its name."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Self, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from homelab_provision.cli.live import RESULT_STYLES, TIME_COLUMN
from homelab_provision.cli.plain import PlainRenderer
from homelab_provision.cli.running import RunningPhase
from homelab_provision.cli.terminal import BAD, Renderer, because, cleaned, console_of, first_line, say
from homelab_provision.doors.process import pause
from homelab_provision.events import (
    Emit,
    Event,
    Notice,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    RunResult,
    RunStarted,
    TaskFinished,
)
from homelab_provision.phases import ORDER
from homelab_provision.report.wording import RESULT_MARKS, seconds_text

PHASE_COLUMN = max(len(phase) for phase in ORDER)
SHORTEST_WORD = 8  # columns; where there are fewer, mark, host and phase have to be enough
REFRESHED = 4  # times a second


class _Patient(Renderer):
    """Asks in any thread: one that waited inside of `readline` would not hear of Ctrl-C."""

    def _typed(self) -> str:
        while not select.select([sys.stdin], [], [], 0)[0]:
            pause(0.1)
        return super()._typed()


class ManyPlain(_Patient, PlainRenderer):
    """The lines of all, each behind the name of its host."""

    def of(self, host: str) -> Emit:
        return PlainRenderer(self._console, f"{host}: ")


@dataclass
class _Row:
    """What the line of a host says. It is drawn while it changes, so that each part is whole at any time."""

    word: str
    phase: str = ""
    started: float | None = None
    seconds: float | None = None
    result: RunResult | None = None
    at_work: RunningPhase = field(default_factory=lambda: RunningPhase(""))

    def take(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.started, self.word = monotonic(), ""
            case PhaseStarted():
                self.at_work = RunningPhase(event.phase)
                self.phase, self.word = event.phase, ""
            case PhaseFinished():
                self.word = first_line(event.error or "")
            case RunFinished():
                self.result, self.seconds = event.result, event.seconds
                self.word = first_line(event.error or event.result)
            case _:
                self.at_work.take(event)
                self.word = self._last_word() or self.word

    def time(self) -> str:
        if self.started is None:
            return ""
        return seconds_text(monotonic() - self.started if self.seconds is None else self.seconds)

    def _last_word(self) -> str:
        """The step at work and how far it is; where none is, the tasks or tests that are done."""
        steps = [step for step in self.at_work.steps if step.result is None]
        if not steps:
            return self.at_work.saying(self.phase)
        name = "/".join(steps[-1].path)
        return ": ".join(filter(None, (steps[-1].path[-1], self.at_work.progress_text(name))))


class ManyLive(_Patient):
    """A line for each host is redrawn; what a person has to read scrolls by above."""

    def __init__(self, console: Console, waits: Mapping[str, str]) -> None:
        super().__init__(console)
        self._rows = {host: _Row(word) for host, word in waits.items()}
        self._asking = threading.Lock()
        self._held: list[Text] | None = None
        self._live = Live(
            console=console,
            refresh_per_second=REFRESHED,
            transient=True,
            get_renderable=self._frame,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def of(self, host: str) -> Emit:
        return partial(self._take, host)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        self._console.print(self._frame())

    def _show(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._line(event, "")

    def _take(self, host: str, event: Event) -> None:
        event = cleaned(event)
        with self._lock:
            self._rows[host].take(event)
            if isinstance(event, Notice):
                self._line(event, f"{host}: ")
            elif isinstance(event, TaskFinished) and event.result in BAD:
                self._say(Text(f"{host}: {event.task}: {event.result}{because(event.message)}"))

    def _line(self, event: Notice, prefix: str) -> None:
        warning = ("warning: ", "bold yellow") if event.level == "warning" else ""
        self._say(Text.assemble((prefix, "bold"), warning, event.text))

    def _say(self, line: Text) -> None:
        if self._held is None:
            say(self._console, line)
        else:
            self._held.append(line)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """One question at a time. The others work on; what they have to say is kept until it is answered."""
        with self._asking:
            self._live.stop()
            self._held = []
            try:
                yield
            finally:
                with self._lock:
                    held, self._held = self._held, None
                    for line in held:
                        say(self._console, line)
                self._live.start(refresh=True)

    def _frame(self) -> RenderableType:
        """All lines. Without our lock: whoever prints holds it, and waits for that of the drawing."""
        host_column = min(max(map(len, self._rows), default=1), self._console.width // 3)
        mark_column = 8 if self._ascii else 1
        rest = self._console.width - mark_column - host_column - PHASE_COLUMN - TIME_COLUMN - 4
        table = Table.grid(padding=(0, 1))
        for width in (mark_column, host_column, PHASE_COLUMN):
            table.add_column(width=width, no_wrap=True, overflow="ellipsis")
        if rest >= SHORTEST_WORD:
            table.add_column(width=TIME_COLUMN, no_wrap=True, justify="right")
            table.add_column(max_width=rest, no_wrap=True, overflow="ellipsis")
        for host, row in self._rows.items():
            word = Text(row.word, _style(row))
            cells = [self._row_mark(row), Text(host, "bold"), Text(row.phase), Text(row.time()), word]
            table.add_row(*cells[: len(table.columns)])
        return table

    def _row_mark(self, row: _Row) -> Text:
        if result := row.result:
            return Text(result.value if self._ascii else RESULT_MARKS[result], RESULT_STYLES[result])
        return Text("" if row.started is None else "at work" if self._ascii else "•", "cyan")


Many = ManyPlain | ManyLive


def renderer_of_many(
    waits: Mapping[str, str], *, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ
) -> Many:
    """The renderer that suits `stream` (standard error); `waits` are the hosts, with what each line says at first."""
    console = console_of(stream, environ)
    if console.is_terminal and not console.is_dumb_terminal:
        return ManyLive(console, waits)
    return ManyPlain(console)


def _style(row: _Row) -> str:
    if row.result:
        return RESULT_STYLES[row.result].removeprefix("bold ")
    return "dim" if row.started is None else "cyan"
