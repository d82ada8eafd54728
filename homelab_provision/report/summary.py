"""A run in one object: what `provision runs show --json` prints."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, JsonValue

from homelab_provision.events import Event, Outcome, RunResult
from homelab_provision.report.timeline import Attempt, Phase, read_attempts

UNFINISHED = "unfinished"


class PhaseSummary(BaseModel):
    """How a phase ended the last time it was tried, and what it left behind to be believed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    result: Outcome
    seconds: float
    proof: dict[str, JsonValue] = {}


class RunSummary(BaseModel):
    """How a run ended. `seconds` counts the time that it ran, over all attempts; `note` says why it is not proven."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: str
    host: str
    machine: str
    site: str
    result: RunResult
    seconds: float
    phases: tuple[PhaseSummary, ...] = ()
    note: str | None = None


def summarise(run: str, host: str, machine: str, site: str, events: Sequence[Event]) -> RunSummary:
    """Sum up the journal of a run.

    A run that was killed has no end in its journal: it has failed, and its note is "unfinished".
    """
    attempts = read_attempts(events)
    last = attempts[-1] if attempts else None
    finished = last.result if last else None
    return RunSummary(
        run=run,
        host=host,
        machine=machine,
        site=site,
        result=finished or RunResult.FAILED,
        seconds=round(sum(attempt.seconds for attempt in attempts), 3),
        phases=tuple(map(_summary, last_tries(attempts))),
        note=last.error if last and finished else UNFINISHED,
    )


def last_tries(attempts: Sequence[Attempt]) -> list[Phase]:
    """The attempt at each phase that counts, in the order of the run.

    It is the last one, except that a resumed run which skips what was done before does not undo it.
    """
    tries: dict[str, Phase] = {}
    for phase in (phase for attempt in attempts for phase in attempt.phases):
        before = tries.get(phase.name)
        done_before = before is not None and before.result in (Outcome.OK, Outcome.CHANGED)
        if not (phase.result is Outcome.SKIPPED and done_before):
            tries[phase.name] = phase
    return list(tries.values())


def _summary(phase: Phase) -> PhaseSummary:
    result = phase.result or Outcome.FAILED
    return PhaseSummary(name=phase.name, result=result, seconds=round(phase.seconds, 3), proof=phase.proof)
