"""An address has come or gone: say so with its cause, and run the programs that others have laid down for that.

keepalived starts this for every change and waits for none, so two may run at a time: the newest state counts, programs
run one after the other, and each learns of the last state at least.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from homelab_host.errors import Trouble
from homelab_host.lock import alone
from homelab_host.process import run_within

from homelab_floating.settings import ANSWERS

HOOKS = Path("/etc/homelab-provision/floating.d")
STATES = Path("/run/homelab-floating-state")
SECONDS = 10
# keepalived's words. Whoever stops has no address any more.
WORDS = {"MASTER": "master", "BACKUP": "backup", "FAULT": "fault", "STOP": "fault"}


def moved(name: str, state: str, hooks: Path = HOOKS, states: Path = STATES, answers: Path = ANSWERS) -> int:
    """Note the new state, and run the programs unless a newer one has come meanwhile."""
    if state not in WORDS:
        return 0
    states.mkdir(mode=0o755, exist_ok=True)
    # The number of this process and when it was started put it in order: two of them may overtake each other.
    own = f"{_started():020d} {WORDS[state]}"
    with alone(states / f".{name}.note"):
        noted = _read(states / f".{name}.new")
        if noted.split()[:1] > own.split()[:1]:
            return 0
        (states / f".{name}.new").write_text(own)
    say(f"{name}: {WORDS[state]}{_cause(state, answers / name)}")
    with alone(states / f".{name}.run"):
        newest = _read(states / f".{name}.new").split()[-1]
        file = states / name
        if _read(file) == newest:
            return 0
        new = states / f".{name}.shown"
        new.write_text(newest)
        new.replace(file)
        return _run(name, newest, hooks / name)


def _cause(state: str, answer: Path) -> str:
    if state == "MASTER":
        return ": this host has the address now"
    said = _read(answer)
    if state == "STOP":
        return ": keepalived ends"
    if state == "BACKUP":
        return ": another host has it, or nobody yet"
    if said == "1":
        return ": the checks are good, so it is the network"
    return f": {said.removeprefix('0 ') or 'there is no check'}"


def _run(name: str, state: str, folder: Path) -> int:
    failed = 0
    for program in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not os.access(program, os.X_OK) or program.name.startswith("."):
            continue
        try:
            done = run_within([program, state], seconds=SECONDS)
            why = done.last_word if done.status else ""
        except Trouble as trouble:
            why = trouble.message
        if why:
            failed = 1
            say(f"{name}: {program} {state} failed: {why}", level="warning")
    return failed


def say(text: str, level: str = "notice") -> None:
    """To the journal: of what keepalived's programs print, nothing is kept."""
    with suppress(Trouble):  # what cannot be said is done all the same
        run_within(["logger", "--tag=homelab-floating", f"--priority=daemon.{level}", "--", text], seconds=SECONDS)


def _started() -> int:
    """When this process was forked, in the kernel's ticks since the boot (proc_pid_stat(5), field 22)."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
