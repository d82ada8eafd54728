"""One stack: quieted by its hooks, asked what it holds, and copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from homelab_host import report
from homelab_host.errors import Trouble
from homelab_host.process import last_lines, run

from . import compose, facts
from .config import Setup, Stack
from .records import Kept
from .replacement import unfinished
from .repository import Repository, reporting
from .values import RESTORING

# A dump of a large database says nothing meanwhile.
HOOK = 4 * 3600.0
TRIES = 3


def copy(setup: Setup, repository: Repository, stack: Stack, label: str) -> Kept:
    """Copy a stack, and its answers from before and after: if these differ, the copy is of no moment."""
    report.step(f"back up {stack.name}")
    if left := unfinished(stack):
        raise Trouble(
            f"a restore of the stack {stack.name} was broken off: its data may be half old, half new",
            f"run that restore again: homelab-stacks restore --label {left.name.removeprefix(RESTORING)}",
        )
    with _quiet(stack):
        for path in stack.sources:
            if not path.exists():
                raise Trouble(f"the stack {stack.name} has no {path}", "take it out of the stack's backup, or make it")
        before = facts.of_stack(stack)
        for _ in range(TRIES):
            tags = [f"stack={stack.name}", f"label={label}"]
            made = repository.backup(setup.host, tags, stack.sources, reporting(f"back up {stack.name}"))
            after = facts.of_stack(stack)
            if after == before:
                snapshot = _whole_id(repository, made.snapshot)
                folder = str(stack.folder)
                return Kept(snapshot, stack.version, folder, stack.paths, made.files, made.bytes, before)
            changed, before = facts.differences(stack.name, before, after), after
            report.notice(f"{changed[0]}: it was written to meanwhile; copy again")
    raise Trouble(
        f"the stack {stack.name} was written to during each of {TRIES} copies",
        "let `before` of its backup quiet it, or ask for facts of what `before` dumps",
        "\n".join(changed),
    )


def _whole_id(repository: Repository, short: str) -> str:
    """Versions before 0.17 tell only the beginning of it."""
    if len(short) == 64:
        return short
    return next(each.id for each in repository.snapshots() if each.id.startswith(short))


@contextmanager
def _quiet(stack: Stack) -> Iterator[None]:
    """Between the hooks; `after` runs whatever happens, and what came first is what is told."""
    try:
        _hook(stack, "before", stack.before)
        yield
    except BaseException:
        try:
            _hook(stack, "after", stack.after)
        except Trouble as trouble:
            report.notice(told(trouble))
        raise
    _hook(stack, "after", stack.after)


def _hook(stack: Stack, when: str, command: str) -> None:
    if not command:
        return
    found = run(["sh", "-ec", command], patience=HOOK, environment=compose.of_hooks(stack))
    if found.status:
        # What it was doing stands on stdout as often as on stderr.
        evidence = last_lines(f"{found.out}\n{found.err}")
        raise Trouble(f"the hook `{when}` of the stack {stack.name} failed (status {found.status})", None, evidence)


def told(trouble: Trouble) -> str:
    """Message and evidence, where several are told as the evidence of one."""
    return "\n".join(filter(None, (trouble.message, trouble.evidence)))
