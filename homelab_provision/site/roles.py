"""Which roles a host has. The playbook `site.yml` is the one truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from homelab_provision import paths
from homelab_provision.site import Host


def roles_of(host: Host, playbook: Path | None = None) -> tuple[str, ...]:
    """The roles that `site.yml` gives to a host, in order: those of each play whose `hosts` names one of its groups,
    each after those that it depends on."""
    plays = yaml.safe_load((playbook or paths.content("playbooks") / "site.yml").read_text())
    mine = {host.name, "all", *host.groups}
    named = [_name(role) for play in plays if _meant(play["hosts"], mine) for role in play.get("roles", [])]
    return tuple(dict.fromkeys(role for name in named for role in _with_dependencies(name)))


def programs_of(roles: Iterable[str], folder: Path | None = None) -> dict[str, str]:
    """The roles that keep data, each with the program that brings it back ("" where none does).

    Such a role says so in `vars/main/state.yml`, as `<role>_program`.
    """
    declared = {role: (folder or paths.content("roles")) / role / "vars" / "main" / "state.yml" for role in roles}
    return {
        role: str(yaml.safe_load(file.read_text())[f"{role}_program"])
        for role, file in declared.items()
        if file.exists()
    }


def _with_dependencies(role: str) -> Iterator[str]:
    """A role after those that its `meta/main.yml` names, as Ansible plays them."""
    meta = paths.content("roles") / role / "meta" / "main.yml"
    for needed in (yaml.safe_load(meta.read_text()).get("dependencies") or []) if meta.exists() else []:
        yield from _with_dependencies(_name(needed))
    yield role


def _meant(pattern: str, mine: set[str]) -> bool:
    """Whether a pattern of hosts (`provisioned:&databases`) means one that has these names."""
    words = pattern.split(":")
    either = {word for word in words if not word.startswith(("&", "!"))}
    return bool(either & mine) and all((word[1:] in mine) is (word[0] == "&") for word in words if word[0] in "&!")


def _name(role: Any) -> str:
    return role if isinstance(role, str) else str(role["role"])
