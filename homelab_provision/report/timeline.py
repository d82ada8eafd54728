"""The stream of events, read back as what happened when: attempts, phases, steps, tasks.

A run may have been killed and resumed. Its attempts are laid end to end: the time between them, when nothing
ran, does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue

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
from homelab_provision.report.wording import place_of, step_parts


@dataclass
class Step:
    """A named part of a phase; `result` is `None` if it never ended. `depth` counts the steps that it is part of."""

    path: tuple[str, ...]
    depth: int
    name: str
    start: float
    seconds: float = 0.0
    result: Outcome | None = None


@dataclass
class Phase:
    """One attempt at a phase; `start` counts from the start of the run, in seconds of running time."""

    name: str
    start: float
    seconds: float = 0.0
    result: Outcome | None = None
    proof: dict[str, JsonValue] = field(default_factory=dict)
    error: str | None = None
    steps: list[Step] = field(default_factory=list)
    tasks: list[tuple[float, TaskFinished]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)


@dataclass
class Attempt:
    """From a start (or a resume) to its end or to the moment it was last heard of."""

    at: datetime
    start: float
    command: str = ""
    resumed: bool = False
    seconds: float = 0.0
    result: RunResult | None = None
    error: str | None = None
    phases: list[Phase] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


def read_attempts(events: Sequence[Event]) -> list[Attempt]:
    """Lay out the attempts of a run, in order. Events before the first start belong to the first attempt."""
    attempts: list[Attempt] = []
    for event in events:
        if isinstance(event, RunStarted) or not attempts:
            begun = sum(attempt.seconds for attempt in attempts)
            attempts.append(Attempt(at=event.at, start=begun))
        _add(attempts[-1], event)
    return attempts


def _add(attempt: Attempt, event: Event) -> None:
    now = attempt.start + max((event.at - attempt.at).total_seconds(), 0.0)
    attempt.seconds = max(attempt.seconds, now - attempt.start)
    phase = attempt.phases[-1] if attempt.phases and attempt.phases[-1].result is None else None
    _stretch(phase, now)
    match event:
        case RunStarted():
            attempt.command, attempt.resumed = event.command, event.resumed
        case RunFinished():
            attempt.result, attempt.seconds, attempt.error = event.result, event.seconds, event.error
        case PhaseStarted():
            attempt.phases.append(Phase(event.phase, now))
        case PhaseFinished():
            _finish_phase(attempt, event, now)
        case Notice():
            (phase.notices if phase else attempt.notices).append(event)
        case Said() if phase:
            phase.said.append(event)
        case StepStarted() if phase:
            _begin_step(phase, step_parts(event.name, phase.name), now)
        case StepFinished() if phase:
            _finish_step(phase, event, now)
        case TaskFinished() if phase:
            phase.tasks.append((max(now - event.seconds, phase.start), event))
        case Progress() | _:
            pass


def _stretch(phase: Phase | None, now: float) -> None:
    """What is open has lasted until now."""
    if phase is None:
        return
    phase.seconds = now - phase.start
    for step in phase.steps:
        if step.result is None:
            step.seconds = now - step.start


def _finish_phase(attempt: Attempt, event: PhaseFinished, now: float) -> None:
    phase = next((p for p in reversed(attempt.phases) if p.name == event.phase and p.result is None), None)
    if phase is None:  # a phase that a resumed run skips ends without having started
        phase = Phase(event.phase, max(now - event.seconds, attempt.start))
        attempt.phases.append(phase)
    phase.result, phase.seconds = event.result, event.seconds
    phase.proof, phase.error = event.proof, event.error


def _begin_step(phase: Phase, path: tuple[str, ...], start: float) -> Step:
    depth, name = place_of(path, {step.path for step in phase.steps})
    phase.steps.append(Step(path, depth, name, start))
    return phase.steps[-1]


def _finish_step(phase: Phase, event: StepFinished, now: float) -> None:
    path = step_parts(event.name, phase.name)
    step = next((s for s in reversed(phase.steps) if s.path == path and s.result is None), None)
    if step is None:
        step = _begin_step(phase, path, max(now - event.seconds, phase.start))
    step.result, step.seconds = event.result, event.seconds
