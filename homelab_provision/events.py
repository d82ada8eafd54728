"""What happens in a run, as typed events.

The core emits events and never prints. The journal, the terminal, JSON lines and the HTML report are
four readers of the same stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from time import monotonic
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

Proof = Mapping[str, JsonValue]

DEEPEST = 16  # levels of a proof


def _between_zero_and(most: float) -> AfterValidator:
    """The nearest number that can be counted and drawn: a clock jumps, a child lies, a bit of a journal turns over."""
    return AfterValidator(lambda number: min(max(number, 0.0), most) if number == number else 0.0)


Seconds = Annotated[float, _between_zero_and(1e9)]
Amount = Annotated[float, _between_zero_and(1e18)]  # bytes, mostly


def _of_our_time(at: datetime) -> datetime:
    """A clock without a battery begins in 1970; calendars end in 9999, and time zones reach beyond both ends."""
    if not 1970 <= at.year < 9000:
        raise ValueError("a time that no clock shows")
    return at


def _plain(value: JsonValue, levels: int = DEEPEST) -> JsonValue:
    """What any reader of JSON takes: not too deep, and a number that is none (`Infinity`) as a word."""
    if isinstance(value, dict | list) and value and not levels:
        raise ValueError(f"more than {DEEPEST} levels deep")
    if isinstance(value, dict):
        return {name: _plain(part, levels - 1) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part, levels - 1) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


Facts = dict[str, Annotated[JsonValue, AfterValidator(_plain)]]


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
    DAMAGED = "damaged"  # what was written down about it cannot be read


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    at: Annotated[AwareDatetime, AfterValidator(_of_our_time)] = Field(default_factory=lambda: datetime.now(UTC))


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
    seconds: Seconds
    proof: Facts = {}
    error: str | None = None
    evidence: str | None = None
    hint: str | None = None


class StepFinished(_Event):
    """A named part of a phase ended; steps nest by `/` in `name`."""

    kind: Literal["step_finished"] = "step_finished"
    name: str
    result: Outcome
    seconds: Seconds


class StepStarted(_Event):
    kind: Literal["step_started"] = "step_started"
    name: str


class Progress(_Event):
    """How far a step is: `done` of `total`, in `unit` ("bytes", "tasks", "seconds", "tests")."""

    kind: Literal["progress"] = "progress"
    name: str
    done: Amount
    total: Amount | None = None
    unit: str = "bytes"


class TaskFinished(_Event):
    """One Ansible task on one host."""

    kind: Literal["task_finished"] = "task_finished"
    play: str
    task: str
    host: str
    result: Outcome
    seconds: Seconds
    message: str | None = None


class Said(_Event):
    """What a playbook has to say about a host: a message (`debug`), the output of a task that failed, or a change as a
    diff. `text` is for reading; `data` is what the message was made of."""

    kind: Literal["said"] = "said"
    what: Literal["message", "failure", "diff"]
    host: str
    task: str
    text: str
    data: Annotated[JsonValue, AfterValidator(_plain)] = None


class Notice(_Event):
    """A line for the person who watches; `level` is `info` or `warning`."""

    kind: Literal["notice"] = "notice"
    level: Literal["info", "warning"] = "info"
    text: str


class RunFinished(_Event):
    kind: Literal["run_finished"] = "run_finished"
    result: RunResult
    seconds: Seconds
    error: str | None = None


Event = Annotated[
    RunStarted
    | PhaseStarted
    | PhaseFinished
    | StepStarted
    | StepFinished
    | Progress
    | TaskFinished
    | Said
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
    started, result = monotonic(), Outcome.FAILED
    try:
        yield
        result = Outcome.OK
    finally:
        emit(StepFinished(name=name, result=result, seconds=monotonic() - started))


def waiting(emit: Emit, name: str, deadline: float) -> Callable[[float, object], None]:
    """An `on_wait` for `Ssh.wait` that shows how long a wait has taken of its `deadline` (seconds)."""

    def show(waited: float, answer: object) -> None:
        emit(Progress(name=name, done=waited, total=deadline, unit="seconds"))

    return show
