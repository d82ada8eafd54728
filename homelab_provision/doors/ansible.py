"""The only door to Ansible: its programs run in an environment of ours, and a playbook run becomes events.

ansible-runner's own command is run through `process.run`, so that Ansible too has a clean environment, a
deadline, and dies with us; it prints one JSON event a line.
"""

from __future__ import annotations

import difflib
import json
import os
import shlex
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from homelab_provision import paths
from homelab_provision.doors.process import ProcessError, run
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Emit, Notice, Outcome, Progress, Said, TaskFinished
from homelab_provision.files import scratch
from homelab_provision.text import clipped, json_object

PROGRAMS = Path(sys.executable).parent
_OUTCOMES = {
    "runner_on_ok": Outcome.OK,
    "runner_on_skipped": Outcome.SKIPPED,
    "runner_on_failed": Outcome.FAILED,
    "runner_on_unreachable": Outcome.UNREACHABLE,
}
# Ansible warns when a module makes its folder, which is right here: nobody but root logs in for it.
ONCE_ON_EVERY_NEW_HOST = "Module remote_tmp "
# A task may build an index for hours. Ansible asks after it every few seconds; what says nothing for this long hangs.
SILENCE = 3600.0  # seconds
DEBUG = ("debug", "ansible.builtin.debug")
OF_EVERY_RESULT = ("changed", "failed", "warnings", "deprecations", "invocation", "skipped")
MOST_SAID = 100_000  # characters of one message, output or diff
LAST_WORDS = 20  # lines
# What a module that takes long tells the host's journal about itself (nothing else of it is seen before its end).
HOW_FAR = ("journalctl", "-t", "homelab-progress", "--since=-1min", "-n", "1", "-o", "cat", "-q")


@dataclass(frozen=True)
class Playbook:
    """What to run and against whom."""

    path: Path
    inventory: Path
    ssh_config: Path
    limit: str | None = None
    check: bool = False
    diff: bool = False
    tags: tuple[str, ...] = ()
    roles: tuple[Path, ...] = ()  # where roles are, beside our own
    variables: Mapping[str, Any] = field(default_factory=dict)
    vault_password_file: Path | None = None
    variables_file: Path | None = None  # more variables, sealed: Ansible opens it with that password

    def command_line(self) -> str:
        words = []
        if self.limit:
            words += ["--limit", self.limit]
        if self.check:
            words += ["--check"]
        if self.check or self.diff:
            words += ["--diff"]
        if self.tags:
            words += ["--tags", ",".join(self.tags)]
        if self.vault_password_file:
            words += ["--vault-password-file", os.fspath(self.vault_password_file)]
        if self.variables_file:
            words += ["--extra-vars", f"@{self.variables_file}"]
        return shlex.join(words)


@dataclass(frozen=True)
class Recap:
    """How a playbook run ended: number of tasks by outcome, and what failed."""

    counts: Mapping[Outcome, int]
    failures: Sequence[str]

    @property
    def ok(self) -> bool:
        return not self.failures

    def proof(self) -> dict[str, Any]:
        return {outcome.value: count for outcome, count in self.counts.items() if count}


class PlaybookFailed(ProvisionError):
    """At least one task failed, or a host could not be reached."""


@dataclass(frozen=True)
class Surroundings:
    """What a program of Ansible runs in: a directory with nothing in it, and the environment."""

    directory: Path
    environment: Mapping[str, str]


@contextmanager
def surroundings() -> Iterator[Surroundings]:
    """Our configuration and nothing else: neither `~/.ansible.cfg` nor one beside the inventory, no plugins or
    collections of the computer or of the site, and no `~/.ansible` to write into.

    Host keys are checked whoever asks otherwise: ansible-runner switches that off where the environment is silent.
    """
    with scratch() as home:
        yield Surroundings(
            home,
            {
                "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
                "ANSIBLE_CONFIG": os.fspath(paths.content("ansible.cfg")),
                "ANSIBLE_HOME": os.fspath(home),
                "ANSIBLE_COLLECTIONS_PATH": os.fspath(home / "collections"),
                "ANSIBLE_HOST_KEY_CHECKING": "True",
                "ANSIBLE_NOCOLOR": "True",
            },
        )


def program(name: str) -> Path:
    """A program of the Ansible that this toolkit was installed with."""
    return PROGRAMS / name


def strict_variables(ssh_config: Path) -> dict[str, object]:
    """Variables that nothing in a site or a playbook can overrule: ssh as we have set it up, host keys checked.

    For ssh the first of two options counts, and these come before what `ansible_ssh_common_args` and the like say.
    """
    words = ["-F", os.fspath(ssh_config)]
    for option in (
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={ssh_config.with_name('known_hosts')}",
        "GlobalKnownHostsFile=none",
        "KnownHostsCommand=none",
        "VerifyHostKeyDNS=no",
    ):
        words += ["-o", option]
    return {
        "ansible_ssh_args": shlex.join(words),
        "ansible_ssh_executable": "ssh",
        "ansible_host_key_checking": True,
        "ansible_ssh_host_key_checking": True,
    }


def play(playbook: Playbook, *, artifacts: Path, emit: Emit) -> Recap:
    """Run a playbook, emit how far it is and each finished task, keep ansible-runner's artifacts in `artifacts`.

    Raises `PlaybookFailed` with the failed tasks' messages.
    """
    home = paths.private(artifacts)
    listener = _Listener(emit, partial(_how_far, playbook.ssh_config), diffs=playbook.check or playbook.diff)
    with surroundings() as around:
        # Not among the artifacts: `-e` may have brought a secret.
        extra = around.directory / "variables.json"
        extra.touch(mode=0o600)
        extra.write_text(json.dumps({**playbook.variables, **strict_variables(playbook.ssh_config)}))
        done = run(
            [
                program("ansible-runner"),
                "run",
                home,
                "--json",
                "--project-dir",
                playbook.path.parent,
                "-p",
                playbook.path.name,
                "--inventory",
                playbook.inventory,
                # One word: it begins with a dash itself. The last variables win.
                f"--cmdline={playbook.command_line()} --extra-vars @{extra}",
            ],
            deadline=SILENCE,
            of_silence=True,
            check=False,
            on_line=listener.line,
            env={
                **around.environment,
                # Ours first: what site.yml does is never decided by a role of the same name.
                "ANSIBLE_ROLES_PATH": os.pathsep.join(map(os.fspath, (paths.content("roles"), *playbook.roles))),
                "ANSIBLE_LIBRARY": os.fspath(paths.content("playbooks") / "library"),
            },
        )
    if done.returncode != 0:  # what a `rescue` of the playbook has mended is no failure
        raise PlaybookFailed(
            f"the playbook {playbook.path.name} failed"
            + (f" on {len(listener.failures)} task(s)" if listener.failures else ""),
            evidence="\n".join(listener.failures) or "\n".join(listener.last_words) or done.stderr or done.stdout,
            hint=f"the whole output is in {home}/artifacts",
        )
    return Recap(listener.counts, ())


def _how_far(ssh_config: Path, host: str) -> str:
    """What the module at work on `host` last said about itself; empty if nothing, or if the host does not answer."""
    with suppress(ProcessError):
        return run(["ssh", "-F", ssh_config, host, shlex.join(HOW_FAR)], deadline=20, check=False).stdout.strip()
    return ""


class _Listener:
    """Turns ansible-runner's JSON lines into events; `how_far` is asked about a host's task that takes long."""

    def __init__(self, emit: Emit, how_far: Callable[[str], str], *, diffs: bool = False) -> None:
        self._emit, self._how_far, self._diffs = emit, how_far, diffs
        self._task_name = ""
        self.counts = dict.fromkeys(Outcome, 0)
        self.failures: list[str] = []
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS)  # for a failure before the first task

    def line(self, text: str) -> None:
        event = json_object(text)
        if event is None:
            self.last_words.append(text)
            return
        kind, data = event.get("event", ""), event.get("event_data", {})
        if kind in ("verbose", "error", "warning", "system_warning") and event.get("stdout"):
            self.last_words.append(event["stdout"])
        if kind == "playbook_on_no_hosts_matched":
            self._emit(Notice(level="warning", text="no host that was asked for is one that this play is for"))
        if kind in ("runner_item_on_ok", "runner_item_on_failed"):
            self._listen(data, failed=kind.endswith("failed") and not data.get("ignore_errors"))
        if kind == "playbook_on_task_start":
            self._task_name = data.get("name") or data.get("task", "")
            self._at_work(self._task_name)
        if kind == "runner_on_async_poll":
            self._at_work(self._how_far(data["host"]) or self._task_name)
        if kind in _OUTCOMES:
            self._task(_OUTCOMES[kind], data)

    def _at_work(self, what: str) -> None:
        self._emit(Progress(name=what, done=sum(self.counts.values()), unit="tasks"))

    def _task(self, outcome: Outcome, data: dict[str, Any]) -> None:
        result = data.get("res") or {}
        if outcome is Outcome.OK and result.get("changed"):
            outcome = Outcome.CHANGED
        for warning in result.get("warnings") or []:
            if not warning.startswith(ONCE_ON_EVERY_NEW_HOST):
                self._emit(Notice(level="warning", text=f"{data.get('host')}: {warning}"))
        message = None
        failed = outcome in (Outcome.FAILED, Outcome.UNREACHABLE)
        if "results" not in result:  # of a loop, each item has been heard
            self._listen(data, failed=outcome is Outcome.FAILED and not data.get("ignore_errors"))
        if failed:
            message = _message(result)
            if not data.get("ignore_errors"):
                self.failures.append(f"{data.get('host')}: {data.get('task')}: {message}")
        self.counts[outcome] += 1
        self._emit(
            TaskFinished(
                play=data.get("play") or "",
                task=data.get("task") or "",
                host=data.get("host") or "",
                result=outcome,
                seconds=data.get("duration") or 0.0,
                message=message,
            )
        )

    def _listen(self, data: dict[str, Any], *, failed: bool) -> None:
        """Pass on what a task has to say: its message, why it failed, what it changed. What is hidden stays hidden."""
        result = data.get("res") or {}
        if not isinstance(result, dict) or "censored" in result:
            return
        who = {"host": data.get("host") or "", "task": data.get("task") or ""}
        if data.get("task_action") in DEBUG and (said := _debugged(result)) is not None:
            self._emit(Said(what="message", **who, text=clipped(as_text(said), MOST_SAID), data=_small(said)))
        if failed and (output := _output(result)):
            self._emit(Said(what="failure", **who, text=clipped(output, MOST_SAID)))
        if self._diffs and (change := diff_text(result.get("diff"))):
            self._emit(Said(what="diff", **who, text=clipped(change, MOST_SAID)))


def _debugged(result: Mapping[str, Any]) -> object:
    """What `debug` shows: its message, or the value of its variable, whose name is the only other key."""
    if "msg" in result:
        return result["msg"]
    others = [key for key in result if not key.startswith("_ansible") and key not in OF_EVERY_RESULT]
    return result[others[0]] if len(others) == 1 else None


def _output(result: Mapping[str, Any]) -> str:
    """What a failed task printed, beyond its message."""
    return "\n".join(str(result[key]).strip("\n") for key in ("stdout", "stderr", "module_stdout") if result.get(key))


def _small(said: object) -> Any:
    """The value of a message as data, unless it is too large to be kept in a journal."""
    try:
        text = json.dumps(said, default=str)
    except (ValueError, RecursionError):
        return None
    return json.loads(text) if len(text) <= MOST_SAID else None


def as_text(said: object) -> str:
    """A value as a person reads it: lists line by line, mappings as YAML writes them."""
    if isinstance(said, str):
        return said
    if isinstance(said, list) and all(isinstance(line, str | int | float) for line in said):
        return "\n".join(map(str, said))
    return str(yaml.safe_dump(json.loads(json.dumps(said, default=str)), allow_unicode=True, sort_keys=False)).strip()


def diff_text(diffs: object) -> str:
    """The changes of a task as a unified diff; Ansible gives one mapping, or a list of them."""
    parts = []
    for one in diffs if isinstance(diffs, list) else [diffs]:
        if not isinstance(one, dict):
            continue
        if isinstance(one.get("prepared"), str):
            parts.append(one["prepared"].rstrip("\n"))
        before, after = (as_text(one.get(side) or "").splitlines() for side in ("before", "after"))
        old, new = (str(one.get(f"{side}_header") or side) for side in ("before", "after"))
        parts += difflib.unified_diff(before, after, old, new, lineterm="")
    return "\n".join(parts)


def _message(result: dict[str, Any]) -> str:
    parts = [str(result[key]) for key in ("msg", "reason", "stderr", "module_stderr") if result.get(key)]
    return "\n".join(parts) or (
        "failed (the task hides its output)" if "censored" in result else "failed without a word"
    )
