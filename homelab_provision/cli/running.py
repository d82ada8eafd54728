"""What a renderer remembers of the phase at work: its open steps, how far they are, and how fast."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import monotonic

from homelab_provision.events import Event, Outcome, Progress, StepFinished, StepStarted, TaskFinished
from homelab_provision.report.wording import bytes_text, quantity_text, seconds_text, step_parts

RATE_WINDOW = 10.0  # seconds over which a rate is measured: long enough to be steady, short enough to be true


@dataclass
class RunningStep:
    """A step that was seen to start; `result` is `None` while it runs."""

    path: tuple[str, ...]
    started: float = field(default_factory=monotonic)
    seconds: float | None = None
    result: Outcome | None = None

    def elapsed(self) -> float:
        return monotonic() - self.started if self.seconds is None else self.seconds


class Gauge:
    """How far something is, and its rate from the last few seconds of reports."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()
        self.last: Progress | None = None

    def take(self, progress: Progress) -> None:
        now = progress.at.timestamp()
        if self.last and progress.done < self.last.done:
            self._seen.clear()  # started over: a second pass has a rate of its own
        self._seen.append((now, progress.done))
        while now - self._seen[0][0] > RATE_WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        self.last = progress

    def rate(self) -> float | None:
        """Units per second, once there is half a second to measure over."""
        if len(self._seen) < 2:
            return None
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first) if last - first >= 0.5 and after > before else None

    def share(self) -> float | None:
        """The part that is done, 0 to 1; a wait has none, as its end is not known."""
        if self.last is None or not self.last.total or self.last.unit == "seconds":
            return None
        return min(self.last.done / self.last.total, 1.0)

    def text(self) -> str:
        """`120 MB of 640 MB, 14 MB/s, 37 s left`."""
        if self.last is None:
            return ""
        parts = [quantity_text(self.last.done, self.last.total, self.last.unit)]
        if self.last.unit == "bytes" and (rate := self.rate()):
            parts.append(f"{bytes_text(rate)}/s")
            if self.last.total and self.last.total > self.last.done:
                parts.append(f"{seconds_text((self.last.total - self.last.done) / rate)} left")
        return ", ".join(parts)


COUNTED = ("tasks", "tests")  # units of progress whose name is the thing at work, not a step


class RunningPhase:
    """The phase at work; without a name: steps outside of any phase."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[RunningStep] = []
        self.seconds: float | None = None
        self._started = monotonic()
        self._gauges: dict[tuple[str, ...], Gauge] = {}
        self._counted: Progress | None = None
        self._tasks = self._changed = 0
        self._task = ""

    def elapsed(self) -> float:
        return monotonic() - self._started if self.seconds is None else self.seconds

    def take(self, event: Event) -> None:
        """Remember what a step, a progress report or a task says."""
        match event:
            case StepStarted():
                self.steps.append(RunningStep(step_parts(event.name, self.name)))
            case StepFinished():
                self._finish(event)
            case Progress() if event.unit in COUNTED:
                self._counted = event
            case Progress():
                self._gauges.setdefault(step_parts(event.name, self.name), Gauge()).take(event)
            case TaskFinished():
                self._tasks += 1
                self._changed += event.result is Outcome.CHANGED
                self._task = event.task

    def _finish(self, event: StepFinished) -> None:
        path = step_parts(event.name, self.name)
        step = next((s for s in reversed(self.steps) if s.path == path and s.result is None), None)
        if step is None:
            step = RunningStep(path)
            self.steps.append(step)
        step.result, step.seconds = event.result, event.seconds
        self._gauges.pop(path, None)

    def steps_that_fit(self, rows: int) -> list[RunningStep]:
        """The open steps, and as many of the finished ones as leave the terminal its last lines."""
        finished = [step for step in self.steps if step.result]
        spare = max(rows - (len(self.steps) - len(finished)), 0)
        hidden = {id(step) for step in finished[: max(len(finished) - spare, 0)]}
        return [step for step in self.steps if id(step) not in hidden]

    def progress_text(self, name: str) -> str:
        gauge = self._gauges.get(step_parts(name, self.name))
        return gauge.text() if gauge else ""

    def share(self, name: str) -> float | None:
        gauge = self._gauges.get(step_parts(name, self.name))
        return gauge.share() if gauge else None

    def counted_text(self) -> str:
        """How many tasks or tests are done, and the name of the last: `12 tasks, 3 changed, base : Install`."""
        if self._counted is None and not self._tasks:
            return ""
        counted = self._counted or Progress(name=self._task, done=self._tasks, unit="tasks")
        changed = f"{self._changed} changed" if self._changed else ""
        count = quantity_text(counted.done, counted.total, counted.unit)
        return ", ".join(filter(None, (count, changed, counted.name)))

    def at_work(self) -> bool:
        """Whether a step has not ended yet."""
        return any(step.result is None for step in self.steps)

    def saying(self, name: str) -> str:
        """What to say about the phase or a step of it right now."""
        path = step_parts(name, self.name)
        said = [self.progress_text(name)]
        if path == (self.name,):
            steps = {step.path for step in self.steps}
            said += [
                f"{'/'.join(at)}: {gauge.text()}"
                for at, gauge in self._gauges.items()
                if at != path and at not in steps
            ]
            said.append(self.counted_text())
        return " · ".join(filter(None, said))
