"""A journal for tests, with a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from homelab_provision.events import (
    Event,
    Outcome,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    RunResult,
    RunStarted,
    StepFinished,
    StepStarted,
    TaskFinished,
)


class Journal:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
        self.events: list[Event] = []

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def run(self, *, resumed: bool = False) -> None:
        self.events.append(RunStarted(at=self.now, command="rebuild db-wyse", resumed=resumed))

    def begin(self, phase: str) -> None:
        self.events.append(PhaseStarted(at=self.now, phase=phase))

    def phase(
        self, name: str, seconds: float = 1.0, *, result: Outcome = Outcome.OK, error: str | None = None, **proof: str
    ) -> None:
        if result is not Outcome.SKIPPED:
            self.begin(name)
            self.wait(seconds)
        self.events.append(
            PhaseFinished(at=self.now, phase=name, result=result, seconds=seconds, proof=dict(proof), error=error)
        )

    def step(self, name: str, seconds: float) -> None:
        self.events.append(StepStarted(at=self.now, name=name))
        self.wait(seconds)
        self.events.append(StepFinished(at=self.now, name=name, result=Outcome.OK, seconds=seconds))

    def task(self, name: str, seconds: float, result: Outcome = Outcome.OK, message: str | None = None) -> None:
        self.wait(seconds)
        self.events.append(
            TaskFinished(
                at=self.now, play="site", task=name, host="db-wyse", result=result, seconds=seconds, message=message
            )
        )

    def end(self, result: RunResult, seconds: float, error: str | None = None) -> None:
        self.events.append(RunFinished(at=self.now, result=result, seconds=seconds, error=error))
