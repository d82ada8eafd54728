"""The programs of roles that keep data: what they say on a host becomes events, and their last word a result.

Such a program (`homelab-postgres`, see docs/roles.md) backs its role's data up, restores it and proves backups. It
runs on the host, by itself from a timer or for the controller over SSH, and tells one JSON object a line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from homelab_provision.doors.ssh import Ssh
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Emit, Notice, Outcome, Progress, StepFinished, StepStarted
from homelab_provision.identity.signing import KEY_FILE
from homelab_provision.runs.store import Run
from homelab_provision.text import json_object

# Longer than any restore; a program watches its own progress and gives up by itself.
DEADLINE = 24 * 3600.0
RESTORED = "restored.json"


class _Restored(BaseModel):
    """What is back, and when the disk was written that it is back on."""

    model_config = ConfigDict(extra="forbid")

    written: str | None
    results: dict[str, dict[str, Any]]


class DataError(ProvisionError):
    """A program on the host failed; it has left the data as it was."""


def run_program(ssh: Ssh, host: str, program: str, *words: str, emit: Emit, input: str | None = None) -> dict[str, Any]:
    """Run a role's program on its host to the end, and return its result. Raises `DataError` with what it says."""
    listener = _Listener(emit)
    done = ssh.run(host, program, *words, deadline=DEADLINE, check=False, on_line=listener.line, input=input)
    listener.close(Outcome.OK if done.returncode == 0 else Outcome.FAILED)
    last = listener.last
    if done.returncode == 0 and last.get("kind") == "result":
        return {key: value for key, value in last.items() if key != "kind"}
    if last.get("kind") == "error":
        raise DataError(f"{host}: {last['message']}", hint=last.get("hint"), evidence=last.get("evidence"))
    raise DataError(
        f"{host}: `{program} {words[0]}` broke off (status {done.returncode})",
        evidence=done.stderr or None,
        hint="run the same command again: it goes on where it was",
    )


def restored(run: Run) -> dict[str, dict[str, Any]]:
    """What this run has restored since it last wrote the disk, by role: the results of the roles' programs.

    The new host writes on from there: what is back must not be put back again by a resumed run.
    """
    told = run.read(RESTORED, _Restored)
    return told.results if told and told.written == _written(run) else {}


def note_restored(run: Run, results: Mapping[str, Mapping[str, Any]]) -> None:
    run.write(RESTORED, json.dumps({"written": _written(run), "results": results}, indent=2) + "\n")


def _written(run: Run) -> str | None:
    """When the run last wrote the disk."""
    flash = run.proven().get("flash")
    return flash.at.isoformat() if flash else None


def bring_key(ssh: Ssh, host: str, private: str) -> None:
    """Give a host the key that signs its records: one that was installed before there was any has none yet."""
    new = f"{KEY_FILE}.new"
    script = f"umask 077 && cat >{new} && sync {new} && mv -f {new} {KEY_FILE}"
    ssh.run(host, "sh", "-c", script, input=private, deadline=60)


class _Listener:
    """Turns the program's lines into events. A step ends where the next begins."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._step: tuple[str, float] | None = None
        self.last: dict[str, Any] = {}

    def line(self, text: str) -> None:
        output = json_object(text) or {}
        match output.get("kind"):
            case "progress":
                name = self._step[0] if self._step else output["name"]
                self._emit(Progress(name=name, done=output["done"], total=output.get("total"), unit=output["unit"]))
            case "step":
                self.close(Outcome.OK)
                self._step = (output["name"], time.monotonic())
                self._emit(StepStarted(name=output["name"]))
            case "notice" | "warning":
                level = "warning" if output["kind"] == "warning" else "info"
                self._emit(Notice(level=level, text=output.get("text") or output["message"]))
            case "result" | "error":
                self.last = output

    def close(self, outcome: Outcome) -> None:
        """End the step at work, if there is one."""
        if self._step:
            name, started = self._step
            self._emit(StepFinished(name=name, result=outcome, seconds=time.monotonic() - started))
            self._step = None
