"""Which roles a host has, and what Debian packages they want. The playbook `site.yml` is the one truth."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from homelab_provision import paths
from homelab_provision.site import Host


def roles_of(host: Host, playbook: Path | None = None) -> tuple[str, ...]:
    """The roles that `site.yml` gives to a host, in order: those of each play whose `hosts` names one of its groups."""
    plays = yaml.safe_load((playbook or paths.content("playbooks") / "site.yml").read_text())
    mine = {host.name, "all", *host.groups}
    named = [_name(role) for play in plays if play["hosts"] in mine for role in play.get("roles", [])]
    return tuple(dict.fromkeys(named))


def packages_of(roles: Iterable[str], folder: Path | None = None) -> tuple[str, ...]:
    """The Debian packages that these roles want baked into the image, sorted."""
    wanted: set[str] = set()
    for role in roles:
        declared = (folder or paths.content("roles")) / role / "vars" / "main" / "packages.yml"
        if declared.exists():
            wanted.update(yaml.safe_load(declared.read_text())[f"{role}_packages"])
    return tuple(sorted(wanted))


def _name(role: Any) -> str:
    return role if isinstance(role, str) else str(role["role"])
