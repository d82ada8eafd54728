"""What is done, journalled: an attempt at a run, its phases, and runs of one phase against hosts that are up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import JsonValue

from homelab_provision.errors import Interrupted, ProvisionError, Refused, Unproven
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
from homelab_provision.runs import lock, store
from homelab_provision.runs.phase import Phase
from homelab_provision.runs.store import Request, Run

Leave = Callable[[Proof], None]


@dataclass(frozen=True)
class Recording:
    """A run at work: whom to `tell` what happens, and where to `leave` the proof."""

    run: Run
    tell: Emit
    leave: Leave


@contextmanager
def recorded(
    request: Request, hosts: Sequence[str], title: str, phase: Phase, emit: Emit, *, proven: bool = False
) -> Iterator[Recording]:
    """Record what the body does to `hosts` as a run, under their locks.

    If all goes well, its result is `proven` if the body itself proves what it does (`proven`), else `done`.
    """
    result = RunResult.PROVEN if proven else RunResult.DONE
    with lock.locked(f"host-{name}" for name in hosts) as held_by:
        run = store.start(request)
        held_by(run.id)
        tell = telling(run, emit)
        with (
            attempt(tell, RunStarted(command=title), result, again="run the same command again"),
            at_phase(tell, phase) as leave,
        ):
            yield Recording(run, tell, leave)


def telling(run: Run, emit: Emit) -> Emit:
    """An `Emit` that journals, too."""

    def tell(event: Event) -> None:
        run.append(event)
        emit(event)

    return tell


@contextmanager
def attempt(tell: Emit, begin: RunStarted, result: RunResult, *, again: str) -> Iterator[None]:
    """Journal the beginning and the end of an attempt at a run; `again` says how to go on after Ctrl-C."""
    started = time.monotonic()
    tell(begin)
    error = None
    try:
        yield
    except (KeyboardInterrupt, Interrupted):  # between two programs, or while one was at work
        result, error = RunResult.FAILED, "interrupted"
        raise Interrupted(f"interrupted; {again}") from None
    except ProvisionError as stopped:
        result, error = _result(stopped), stopped.message
        raise
    except BaseException as bug:
        result, error = RunResult.FAILED, repr(bug)
        raise
    finally:
        tell(RunFinished(result=result, seconds=time.monotonic() - started, error=error))


@contextmanager
def at_phase(tell: Emit, phase: Phase) -> Iterator[Leave]:
    """Journal a phase with its time; the body leaves the proof of what it did."""
    tell(PhaseStarted(phase=phase))
    started = time.monotonic()
    left: dict[str, JsonValue] = {}
    try:
        yield left.update
    except BaseException as stopped:
        known = stopped if isinstance(stopped, ProvisionError) else ProvisionError(repr(stopped))
        tell(
            PhaseFinished(
                phase=phase,
                result=Outcome.FAILED,
                seconds=time.monotonic() - started,
                error=known.message,
                evidence=known.evidence,
                hint=known.hint,
            )
        )
        raise
    tell(PhaseFinished(phase=phase, result=Outcome.OK, seconds=time.monotonic() - started, proof=left))


def _result(stopped: ProvisionError) -> RunResult:
    if isinstance(stopped, Unproven):
        return RunResult.UNPROVEN
    return RunResult.REFUSED if isinstance(stopped, Refused) else RunResult.FAILED
