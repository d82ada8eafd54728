"""The events of a run as lines: for logs, pipes and CI."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from homelab_provision.cli.running import COUNTED, RunningPhase
from homelab_provision.cli.terminal import BAD, Renderer, because, say
from homelab_provision.events import (
    Event,
    Notice,
    PhaseFinished,
    PhaseStarted,
    Progress,
    RunFinished,
    RunStarted,
    Said,
    StepFinished,
    StepStarted,
    TaskFinished,
)
from homelab_provision.report.wording import seconds_text, step_parts

PLAIN_INTERVAL = 5.0  # seconds between two progress lines of one step


class PlainRenderer(Renderer):
    """One line per start and end, a progress line now and then: for logs, pipes and CI."""

    def __init__(self, console: Console, prefix: str = "") -> None:
        super().__init__(console)
        self._prefix = prefix
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
                self._line(f"{event.phase}: {event.result}, {seconds_text(event.seconds)}{because(event.error)}")
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
                self._line(f"{self._where()}{event.host}: {event.task}: {event.result}{because(event.message)}")
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
        line = self._prefix + text
        say(self._console, Text(_ascii(line) if self._ascii else line))


def _ascii(text: str) -> str:
    return text.replace("…", "...").encode("ascii", "replace").decode()
