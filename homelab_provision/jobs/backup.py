"""Back up and restore the data of hosts that are up: recorded as runs, like a rebuild."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homelab_provision.data.program import bring_key, run_program
from homelab_provision.errors import UsageError
from homelab_provision.events import Emit
from homelab_provision.phases.session import session
from homelab_provision.runs.phase import Phase
from homelab_provision.runs.recorder import recorded
from homelab_provision.runs.store import Request
from homelab_provision.site.models import Host
from homelab_provision.site.roles import part_of, programs_of, restores_from_second

Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Part:
    """A part of a host's data: its kind, which is also the option that names it (`database`, `stack`), and its name."""

    kind: str
    name: str


def back_up(site_dir: Path, host: str, kind: str | None, *, prove: bool, emit: Emit) -> Results:
    """Back up everything that the roles of a host keep; with `prove`, restore it to a scratch place and compare.

    `kind` is full, diff or incr (`None`: what suits). Returns the result of each role's program.
    """
    orders = [["backup", *(["--type", kind] if kind else [])], *([["prove"]] if prove else [])]
    return _run(site_dir, host, Phase.BACKUP, orders, emit, lambda programs: None, proven=prove)


def restore(
    site_dir: Path,
    host: str,
    to: str | None,
    part: Part | None,
    *,
    second: bool = False,
    emit: Emit,
    confirm: Callable[[str], None],
) -> Results:
    """Bring the data of a host back: to its newest state, or as it was at the time `to`; or one part of it.

    With `second` it comes from the second repository, of those roles that can ask it. `confirm` is told what will be
    replaced, and raises if it must not be. Returns the result of each role's program.
    """
    options = [*(["--to", to] if to else []), *([f"--{part.kind}", part.name] if part else [])]
    options += ["--from", "second"] if second else []

    def ask(programs: Sequence[str]) -> None:
        what = f"the {part.kind} {part.name}" if part else f"the data ({', '.join(programs)})"
        source = f"its state of {to}" if to else "the newest backup"
        confirm(f"This replaces {what} of {host} by {source}{' in the second repository' if second else ''}.")

    orders = [["restore", *options]]
    return _run(site_dir, host, Phase.RESTORE, orders, emit, ask, proven=True, part=part, second=second)


def _run(
    site_dir: Path,
    name: str,
    phase: Phase,
    orders: Sequence[Sequence[str]],
    emit: Emit,
    ask: Callable[[Sequence[str]], None],
    *,
    proven: bool,
    part: Part | None = None,
    second: bool = False,
) -> Results:
    with session(site_dir, [name]) as opened:
        host = opened.site.host(name)
        programs = _programs(host, part, second)
        ask(list(programs))
        request = Request(command=phase.value, site=site_dir, host=name)
        with recorded(request, [name], f"{phase} {name}", phase, emit, proven=proven) as recording:
            if phase is Phase.BACKUP:
                bring_key(opened.ssh, name, opened.identities.hosts[name].signing.private)
            results: Results = {}
            for role, program in programs.items():
                for words in orders:
                    told = run_program(opened.ssh, name, program, *words, emit=recording.tell)
                    results[role] = {**results.get(role, {}), **told}
            recording.leave(
                {
                    role: {key: value for key, value in result.items() if key not in ("fingerprint", "files")}
                    for role, result in results.items()
                }
            )
            return results


def _programs(host: Host, part: Part | None, second: bool) -> dict[str, str]:
    """The roles of the host whose data can be backed up, or those that have such parts, each with its program; with
    `second`, those of which that one restores from a second repository."""
    programs = {role: program for role, program in programs_of(host.roles).items() if program}
    if not programs:
        raise UsageError(
            f"no role of `{host.name}` keeps data that is backed up", hint=f"its roles: {', '.join(host.roles)}"
        )
    if host.backup is None:
        raise UsageError(
            f"`{host.name}` has no backup: `provision_backup` is not set",
            hint="say in group_vars/all which NFS server keeps the hosts' data",
        )
    if part and not (programs := {role: program for role, program in programs.items() if part_of(role) == part.kind}):
        raise UsageError(f"no role of `{host.name}` keeps a {part.kind}", hint=f"its roles: {', '.join(host.roles)}")
    if second and not (programs := {role: program for role, program in programs.items() if restores_from_second(role)}):
        raise UsageError(
            f"no role of `{host.name}` restores from a second repository by itself",
            hint=f"its roles: {', '.join(host.roles)}",
        )
    return programs
