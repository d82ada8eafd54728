"""What a role's program says, as events and as a result."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision.data.program import DataError, note_restored, restored, run_program
from homelab_provision.doors.process import Completed
from homelab_provision.events import Event, Notice, Outcome, PhaseFinished, Progress, StepFinished, StepStarted
from homelab_provision.runs import store
from homelab_provision.runs.store import Request

STEPS = [
    {"kind": "step", "name": "restore the files"},
    {"kind": "progress", "name": "restore", "done": 5, "total": 10, "unit": "bytes"},
    {"kind": "step", "name": "compare the fingerprint"},
    {"kind": "warning", "text": "slow"},
]


def program(*lines: Any, status: int = 0, stderr: str = "") -> Any:
    """An `Ssh` on whose host the program says these lines (JSON documents, or plain text)."""

    def run(alias: str, *words: str, on_line: Any, **options: Any) -> Completed:
        for line in lines:
            on_line(line if isinstance(line, str) else json.dumps(line))
        return Completed(words, status, "", stderr, 1.0)

    return SimpleNamespace(run=run)


def run(ssh: Any) -> tuple[dict[str, Any], list[Event]]:
    events: list[Event] = []
    return run_program(ssh, "db-wyse", "homelab-postgres", "restore", emit=events.append), events


def test_steps_progress_and_the_result() -> None:
    result, events = run(program(*STEPS, "not JSON", "[1]", {"kind": "result", "label": "x", "rows": 3}))
    assert result == {"label": "x", "rows": 3}
    kinds = [type(event) for event in events]
    assert kinds == [StepStarted, Progress, StepFinished, StepStarted, Notice, StepFinished]
    progress = events[1]
    assert isinstance(progress, Progress)
    assert (progress.name, progress.done, progress.total) == ("restore the files", 5, 10)
    assert [event.result for event in events if isinstance(event, StepFinished)] == [Outcome.OK, Outcome.OK]


@pytest.mark.negative
def test_an_error_is_told_with_its_hint() -> None:
    error = {"kind": "error", "message": "the share is away", "hint": "switch the NAS on", "evidence": "mount: …"}
    with pytest.raises(DataError, match="db-wyse: the share is away") as failed:
        run(program(*STEPS, error, status=1))
    assert (failed.value.hint, failed.value.evidence) == ("switch the NAS on", "mount: …")


@pytest.mark.negative
@pytest.mark.parametrize("lines", [[], [*STEPS], [{"kind": "result", "rows": 1}]])
def test_a_program_that_breaks_off_has_no_result(lines: list[Any]) -> None:
    with pytest.raises(DataError, match=r"broke off \(status 255\)") as failed:
        run(program(*lines, status=255, stderr="Connection reset"))
    assert failed.value.evidence == "Connection reset"


@pytest.mark.negative
def test_silence_is_no_success() -> None:
    with pytest.raises(DataError, match="broke off"):
        run(program(*STEPS))


def test_what_was_restored_is_forgotten_when_the_disk_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    record = store.start(Request(command="rebuild", site=tmp_path, host="db-wyse"))
    record.append(PhaseFinished(phase="flash", result=Outcome.OK, seconds=1))
    assert restored(record) == {}
    note_restored(record, {"postgres": {"label": "x"}})
    assert restored(record) == {"postgres": {"label": "x"}}
    record.append(PhaseFinished(phase="flash", result=Outcome.OK, seconds=1))
    assert restored(record) == {}
