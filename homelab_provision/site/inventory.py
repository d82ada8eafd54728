"""hosts.yml and its variables, as Ansible itself understands them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from homelab_provision.doors.ansible import surroundings
from homelab_provision.doors.process import Argument, ProcessError, run
from homelab_provision.site.problems import Problem
from homelab_provision.site.roles import Matched, Pattern

HOSTS_FILE = "hosts.yml"
LISTING = Path(__file__).with_name("listing.py")
_DEADLINE_SECONDS = 60
Variables = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    hosts: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    variables: Variables = field(default_factory=dict)


@dataclass(frozen=True)
class Inventory:
    """The export of `ansible-inventory`: groups with their variables, and each host's own ones."""

    groups: Mapping[str, Group]
    own: Mapping[str, Variables]
    matched: tuple[Matched, ...] = ()
    """Whom the patterns mean that it was asked about."""
    warnings: tuple[str, ...] = ()
    """What Ansible does not like, and does nevertheless."""

    def hosts(self) -> tuple[str, ...]:
        """In the order in which the inventory names them."""
        listed = [name for group in self.groups.values() for name in group.hosts]
        return tuple(dict.fromkeys([*self.own, *listed]))

    def groups_of(self, host: str) -> tuple[str, ...]:
        """All groups of a host, the general ones first: Ansible's order, in which later ones win."""
        member = {name for name, group in self.groups.items() if host in group.hosts}
        while parents := {name for name, group in self.groups.items() if member & set(group.children)} - member:
            member |= parents
        depths = self._depths()
        return tuple(sorted(member, key=lambda name: (depths.get(name, 0), self._priority(name), name)))

    def variables(self, host: str) -> Variables:
        """The variables of a host after Ansible's rule of precedence: all, parents, children, the host itself."""
        merged: dict[str, Any] = {}
        for name in ("all", *(group for group in self.groups_of(host) if group != "all")):
            if name in self.groups:
                merged.update(self.groups[name].variables)
        return {**merged, **self.own.get(host, {})}

    def _priority(self, name: str) -> int:
        try:
            return int(self.groups[name].variables.get("ansible_group_priority", 1))
        except (TypeError, ValueError, OverflowError):
            return 1  # what is no number is told where it is written

    def _depths(self) -> dict[str, int]:
        depths: dict[str, int] = {}

        def descend(name: str, depth: int) -> None:
            if depths.get(name, -1) < depth:
                depths[name] = depth
                for below in self.groups[name].children if name in self.groups else ():
                    descend(below, depth + 1)

        descend("all", 0)
        return depths


def read_inventory(root: Path, password: Path | None = None, patterns: Sequence[Pattern] = ()) -> Inventory | Problem:
    """Ask Ansible. Costs about half a second, nearly all of it Ansible's start. Nothing of the site's is run.

    `password` opens files of variables that are sealed; `patterns` are matched with the hosts on the way.
    """
    # Only YAML is tried, and a file that does not parse is an error instead of an empty inventory.
    strict = {
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_VARS_ENABLED": "host_group_vars",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "ANSIBLE_HOST_PATTERN_MISMATCH": "ignore",  # most sites have no hosts for some play
    }
    # -P: what lies beside the listing is ours, and is not what Ansible means by `inventory`.
    argv: list[Argument] = [sys.executable, "-P", LISTING, json.dumps(patterns)]
    argv += ["-i", root.resolve() / HOSTS_FILE, "--list", "--export"]
    if password:
        argv += ["--vault-password-file", password.absolute()]
    try:
        with surroundings() as around:
            env = {**around.environment, **strict}
            done = run(argv, deadline=_DEADLINE_SECONDS, env=env, cwd=around.directory)
    except ProcessError as error:
        if error.returncode in (None, 127):
            raise
        output = [line for line in error.stderr.splitlines() if line.strip() and not line.startswith("Traceback")]
        # What we check ourselves never comes so far; where the rest stands, Ansible does not always know.
        found = re.search(rf"Origin: {re.escape(str(root.resolve()))}/(\S+?):(\d+):\d+", error.stderr)
        file, line = (found[1], int(found[2])) if found else (HOSTS_FILE, 1)
        return Problem(file, line, "", "Ansible cannot read the inventory", excerpt="\n".join(output[-12:]))
    return replace(parse_export(json.loads(done.stdout)), warnings=warnings_in(done.stderr))


def warnings_in(output: str) -> tuple[str, ...]:
    """The warnings among what Ansible says on standard error; it breaks their lines to fit a terminal."""
    parts = re.split(r"^\[(WARNING|ERROR|DEPRECATION WARNING)\]: ", output, flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return tuple(dict.fromkeys(" ".join(text.split()) for kind, text in pairs if kind == "WARNING"))


def parse_export(data: Mapping[str, Any]) -> Inventory:
    groups = {
        name: Group(tuple(group.get("hosts", ())), tuple(group.get("children", ())), group.get("vars", {}))
        for name, group in data.items()
        if name != "_meta"
    }
    meta = data.get("_meta", {})
    matched = tuple(hosts if isinstance(hosts, str) else tuple(hosts) for hosts in meta.get("matched", ()))
    return Inventory(groups, meta.get("hostvars", {}), matched)
