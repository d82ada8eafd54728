"""A run of one phase against hosts that are up: locked, journalled, with its proof or its error."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from homelab_provision import runs
from homelab_provision.errors import ProvisionError
from homelab_provision.events import (
    Emit,
    Event,
    Outcome,
    PhaseFinished,
    PhaseStarted,
    Proof,
    RunFinished,
    RunResult,
    RunStarted,
)
from homelab_provision.phases import Phase
from homelab_provision.runs import Request, Run


@dataclass
class Recording:
    """A run at work; whoever works sets the `proof` that it leaves."""

    run: Run
    emit: Emit
    proof: Proof = field(default_factory=dict)

    def tell(self, event: Event) -> None:
        self.run.append(event)
        self.emit(event)


@contextmanager
def recorded(
    request: Request, hosts: Sequence[str], title: str, phase: Phase, emit: Emit, *, proven: bool = False
) -> Iterator[Recording]:
    """Record what the body does to `hosts` as a run, under their locks.

    Its result is `unproven` unless the body itself proves what it does (`proven`).
    """
    recording = Recording(runs.start(request), emit)
    with runs.locked([f"host-{name}" for name in hosts], recording.run.id):
        started = time.monotonic()
        recording.tell(RunStarted(command=title))
        recording.tell(PhaseStarted(phase=phase))
        try:
            yield recording
        except ProvisionError as error:
            seconds = time.monotonic() - started
            recording.tell(PhaseFinished(phase=phase, result=Outcome.FAILED, seconds=seconds, error=error.message,
                                         evidence=error.evidence, hint=error.hint))  # fmt: skip
            recording.tell(RunFinished(result=RunResult.FAILED, seconds=seconds, error=error.message))
            raise
        seconds = time.monotonic() - started
        recording.tell(PhaseFinished(phase=phase, result=Outcome.OK, seconds=seconds, proof=dict(recording.proof)))
        result = RunResult.PROVEN if proven else RunResult.UNPROVEN
        recording.tell(RunFinished(result=result, seconds=seconds))
