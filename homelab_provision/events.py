"""What happens in a run, as typed events.

The core emits events and never prints. The journal, the terminal, JSON lines and the HTML report are
four readers of the same stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from time import monotonic
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

Proof = Mapping[str, JsonValue]


class Outcome(StrEnum):
    """How a phase, step or task ended."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


class RunResult(StrEnum):
    """How a whole run ended, as `provision runs show --json` says it."""

    PROVEN = "proven"
    DONE = "done"  # ended well, of a command that is not asked to prove anything
    UNPROVEN = "unproven"
    FAILED = "failed"
    REFUSED = "refused"


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class RunStarted(_Event):
    kind: Literal["run_started"] = "run_started"
    command: str
    resumed: bool = False


class PhaseStarted(_Event):
    kind: Literal["phase_started"] = "phase_started"
    phase: str


class PhaseFinished(_Event):
    """`proof` is what the phase leaves behind to be believed; `error`, `evidence` and `hint` say why it failed."""

    kind: Literal["phase_finished"] = "phase_finished"
    phase: str
    result: Outcome
    seconds: float
    proof: dict[str, JsonValue] = {}
    error: str | None = None
    evidence: str | None = None
    hint: str | None = None


class StepFinished(_Event):
    """A named part of a phase ended; steps nest by `/` in `name`."""

    kind: Literal["step_finished"] = "step_finished"
    name: str
    result: Outcome
    seconds: float


class StepStarted(_Event):
    kind: Literal["step_started"] = "step_started"
    name: str


class Progress(_Event):
    """How far a step is: `done` of `total`, in `unit` ("bytes", "tasks", "seconds", "tests")."""

    kind: Literal["progress"] = "progress"
    name: str
    done: float
    total: float | None = None
    unit: str = "bytes"


class TaskFinished(_Event):
    """One Ansible task on one host."""

    kind: Literal["task_finished"] = "task_finished"
    play: str
    task: str
    host: str
    result: Outcome
    seconds: float
    message: str | None = None


class Notice(_Event):
    """A line for the person who watches; `level` is `info` or `warning`."""

    kind: Literal["notice"] = "notice"
    level: Literal["info", "warning"] = "info"
    text: str


class RunFinished(_Event):
    kind: Literal["run_finished"] = "run_finished"
    result: RunResult
    seconds: float
    error: str | None = None


Event = Annotated[
    RunStarted
    | PhaseStarted
    | PhaseFinished
    | StepStarted
    | StepFinished
    | Progress
    | TaskFinished
    | Notice
    | RunFinished,
    Field(discriminator="kind"),
]
Emit = Callable[[Event], None]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def discard(event: Event) -> None:
    """An `Emit` for whoever does not want to hear."""


@contextmanager
def step(emit: Emit, name: str) -> Iterator[None]:
    """Emit the start and the end of a named part of the work, with its time."""
    emit(StepStarted(name=name))
    started = monotonic()
    try:
        yield
    except BaseException:
        emit(StepFinished(name=name, result=Outcome.FAILED, seconds=monotonic() - started))
        raise
    emit(StepFinished(name=name, result=Outcome.OK, seconds=monotonic() - started))


def waiting(emit: Emit, name: str, deadline: float) -> Callable[[float, object], None]:
    """An `on_wait` for `Ssh.wait` that shows how long a wait has taken of its `deadline` (seconds)."""

    def show(waited: float, answer: object) -> None:
        emit(Progress(name=name, done=waited, total=deadline, unit="seconds"))

    return show
