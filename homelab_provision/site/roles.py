"""Which roles a host has. The playbook `site.yml` is the one truth, and Ansible says whom its patterns mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from homelab_provision import paths
from homelab_provision.site.document import parse_document
from homelab_provision.site.problems import Problem

Pattern = str | list[str]
# For one pattern: the hosts that Ansible takes it for, or why it refuses it.
Matched = tuple[str, ...] | str
PATTERN_EXPECTED = "a pattern of hosts as Ansible knows them, as in `provisioned:&databases`"


@dataclass(frozen=True)
class Play:
    """A play of `site.yml`: for whom, and the roles that it gives them, each after those that it depends on."""

    hosts: Pattern
    roles: tuple[str, ...]


def playbook() -> Path:
    return paths.content("playbooks") / "site.yml"


def read_plays() -> tuple[tuple[Play, ...], list[Problem]]:
    """The plays of `site.yml`, or what is wrong with those that do not say for whom they are."""
    written = yaml.safe_load(playbook().read_text())
    wrong = [number for number, play in enumerate(written) if not _is_pattern(play.get("hosts"))]
    if wrong:
        return (), [_problem(number, "this play does not say for which hosts it is") for number in wrong]
    return tuple(Play(play["hosts"], _roles(play.get("roles") or ())) for play in written), []


def roles_by_host(
    plays: Sequence[Play], matched: Sequence[Matched]
) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """The roles of every host that a play means, in order, and the patterns that Ansible refuses."""
    problems: list[Problem] = []
    roles: dict[str, dict[str, None]] = {}
    for number, (play, hosts) in enumerate(zip(plays, matched, strict=True)):
        if isinstance(hosts, str):
            problems.append(_problem(number, f"Ansible refuses this pattern: {hosts}"))
            continue
        for host in hosts:
            roles.setdefault(host, {}).update(dict.fromkeys(play.roles))
    return {host: tuple(given) for host, given in roles.items()}, problems


def programs_of(roles: Iterable[str], folder: Path | None = None) -> dict[str, str]:
    """The roles that keep data, each with the program that brings it back ("" where none does).

    Such a role says so in `vars/main/state.yml`, as `<role>_program`.
    """
    states = {role: _state(role, folder) for role in roles}
    return {role: str(state[f"{role}_program"]) for role, state in states.items() if state}


def part_of(role: str) -> str:
    """What the data of a role are parts of, of which one can be restored (`database`, `stack`); empty if it has none.

    It says so in `vars/main/state.yml`, as `<role>_part`.
    """
    return str(_state(role).get(f"{role}_part", ""))


def restores_from_second(role: str) -> bool:
    """Whether the role's program restores from its second repository, too: `<role>_second` in `vars/main/state.yml`."""
    return _state(role).get(f"{role}_second") is True


def _state(role: str, folder: Path | None = None) -> dict[str, Any]:
    """What a role says of the data that it keeps; nothing if it keeps none."""
    file = (folder or paths.content("roles")) / role / "vars" / "main" / "state.yml"
    state: dict[str, Any] = yaml.safe_load(file.read_text()) if file.exists() else {}
    return state


def _is_pattern(hosts: object) -> bool:
    return bool(hosts) and all(isinstance(part, str) for part in (hosts if isinstance(hosts, list) else [hosts]))


def _problem(number: int, message: str) -> Problem:
    """A problem with the hosts of a play (counted from 0), shown in the playbook."""
    document = parse_document(str(playbook()), playbook().read_text())
    return document.problem(
        (number, "hosts"), message, expected=PATTERN_EXPECTED, at_value=True, called=f"play {number + 1}"
    )


def _roles(given: Iterable[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(role for entry in given for role in _with_dependencies(_name(entry))))


def _with_dependencies(role: str) -> Iterator[str]:
    """A role after those that its `meta/main.yml` names, as Ansible plays them."""
    meta = paths.content("roles") / role / "meta" / "main.yml"
    for needed in (yaml.safe_load(meta.read_text()).get("dependencies") or []) if meta.exists() else []:
        yield from _with_dependencies(_name(needed))
    yield role


def _name(role: Any) -> str:
    return role if isinstance(role, str) else str(role["role"])
