"""A throw-away copy of a compose project on scratch data, as long as it is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from homelab_host import report
from homelab_host.errors import Trouble
from homelab_host.process import Finished, run

from . import compose
from .config import Stack
from .throwaway import outside, throwaway

# What the project has in its environment stands in the file: it is kept in memory, for root alone.
FOLDER = Path("/run/homelab-stacks")
ANSWER, START, STOP, HEALTHY = 120.0, 1800.0, 600.0, 600


@contextmanager
def running(stack: Stack, data: Path) -> Iterator[list[str]]:
    """Start the services that are asked something, and what they depend on; yields how calls for the copy begin."""
    report.step(f"start a throw-away copy of {stack.name}")
    text = throwaway(_described(stack, data), stack.name, stack.folder, data)
    if wrong := outside(text, data):
        raise Trouble(
            f"no copy of the stack {stack.name} is started: volumes lead out of the restored data by a link",
            "a volume that is kept has to be a directory of its own",
            "\n".join(wrong),
        )
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"proof-{stack.name}.json"
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    words = compose.copy(stack, file)
    services = sorted({fact.service for fact in stack.facts if fact.service})
    try:
        stop(stack)
        options = ["--detach", "--wait", f"--wait-timeout={HEALTHY}", "--no-build", "--quiet-pull"]
        _checked(stack, words, run([*words, "up", *options, *services], patience=START))
        yield words
    finally:
        stop(stack)
        file.unlink()


def stop(stack: Stack) -> None:
    """Remove the copy with all that it made, also one that a killed run has left: it is known by its name."""
    words = ["docker", "compose", f"--project-name={compose.copy_name(stack)}"]
    found = run([*words, "down", "--volumes", "--remove-orphans", "--timeout=5"], patience=STOP)
    if found.status:
        raise Trouble(f"the throw-away copy of {stack.name} cannot be removed", None, found.last_words)


def _described(stack: Stack, data: Path) -> str:
    words = [*compose.project(stack), "config", "--format=json"]
    found = run(words, patience=ANSWER, environment={"STACK_DATA": str(data)})
    if found.status:
        raise Trouble(f"docker compose does not understand the stack {stack.name}", None, found.last_words)
    return found.out


def _checked(stack: Stack, words: Sequence[str], found: Finished) -> None:
    if found.status:
        log = run([*words, "logs", "--no-color", "--tail=10"], patience=ANSWER).out
        message = f"the throw-away copy of {stack.name} does not become healthy"
        raise Trouble(message, None, f"{found.last_words}\n{log}".strip())
