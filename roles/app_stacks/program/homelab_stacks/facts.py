"""Facts: what a stack answers when it is asked what it holds. The same questions go to it and to copies of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from homelab_host import report
from homelab_host.errors import Trouble
from homelab_host.process import run

from . import compose
from .config import Setup, Stack

PATIENCE = 900.0
# A count or a sum, not the data themselves: a record holds it.
LONGEST = 4096
# How long a stack that was started just now may not answer yet, in seconds.
START, PAUSE = 120.0, 3.0


def of_stack(stack: Stack) -> dict[str, str]:
    """What the stack itself answers."""
    return ask(stack, stack.folder, compose.project(stack))


def ask(stack: Stack, data: Path, project: Sequence[str]) -> dict[str, str]:
    """The answers about the data in this folder; `project` begins the calls for questions that a service is asked.

    Raises `Trouble` for a command that fails, with what it says.
    """
    answers = {}
    for fact in stack.facts:
        words = [*project, "exec", "-T", fact.service, *fact.command] if fact.service else list(fact.command)
        found = run(words, patience=PATIENCE, environment={"STACK": stack.name, "STACK_DATA": str(data)})
        if found.status:
            hint = f"look at it: systemctl status {stack.unit}"
            raise Trouble(f"{_of(stack, fact.name)} (status {found.status})", hint, found.last_words)
        if len(found.out) > LONGEST:
            raise Trouble(
                f"{_of(stack, fact.name)}: its answer has {len(found.out)} characters; {LONGEST} are allowed",
                "let the command print a count, or a sum over what it finds",
            )
        answers[fact.name] = found.out.strip()
    return answers


def differences(name: str, desired: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """How a stack's answers differ, in words; empty if they do not."""
    said = []
    for fact in sorted({*desired, *found}):
        before, after = desired.get(fact), found.get(fact)
        if before == after:
            continue
        if after is None:
            said.append(f"stack {name}, {fact}: is not asked any more")
        elif before is None:
            said.append(f"stack {name}, {fact}: was not asked before")
        else:
            said.append(f"stack {name}, {fact}: {_short(after)} instead of {_short(before)}")
    return said


def take(stacks: Iterable[Stack]) -> dict[str, dict[str, str]]:
    """The fingerprint: what each of these stacks answers now."""
    return {stack.name: _patiently(stack) for stack in sorted(stacks, key=lambda stack: stack.name)}


def compare(setup: Setup, desired: Any) -> dict[str, object]:
    """How the stacks of an earlier fingerprint differ from it now; others, which came later, are left alone."""
    if not isinstance(desired, dict) or not all(isinstance(answers, dict) for answers in desired.values()):
        raise Trouble("what is to be compared is no fingerprint of stacks")
    found = take(stack for stack in setup.kept if stack.name in desired)
    said = [f"stack {name}: is not there" for name in sorted(desired.keys() - found.keys())]
    said += [line for name in found for line in differences(name, desired[name], found[name])]
    return {"differences": said, **sums(found)}


def sums(fingerprint: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    return {"stacks": len(fingerprint), "facts": sum(len(answers) for answers in fingerprint.values())}


def _patiently(stack: Stack) -> dict[str, str]:
    """One that was started just now may need a moment before it answers."""
    deadline = time.monotonic() + START
    report.step(f"ask {stack.name}")
    while True:
        try:
            return of_stack(stack)
        except Trouble:
            if time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


def _of(stack: Stack, fact: str) -> str:
    return f"the stack {stack.name} does not say its {fact}"


def _short(answer: str) -> str:
    return repr(answer) if len(answer) <= 60 else f"{answer[:57]!r}…"
