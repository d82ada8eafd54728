"""Hosts: what the toolkit wants to know of an inventory, with the line where each thing was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node

from homelab_provision.site.document import Document, KeyPath, at, read_document
from homelab_provision.site.inventory import Inventory, Variables
from homelab_provision.site.models import PROVISIONED_GROUP, Backup, Frozen, Host, Needs, Network
from homelab_provision.site.problems import Problem
from homelab_provision.site.validation import Model, did_you_mean, validate
from homelab_provision.site.values import SecretName

NETWORK, NEEDS, ADDRESS = "provision_network", "provision_needs", "ansible_host"
BACKUP, SECRETS = "provision_backup", "provision_secrets"
OURS = (NETWORK, NEEDS, BACKUP, SECRETS, "provision_mounts")
# What `site.yml` is told by the toolkit itself, and a playbook may look at.
TOLD = ("provision_macs", "provision_run", "provision_restore")
_NO_NEEDS = Needs()


class _Secrets(Frozen):
    """The list of a host's secrets as a model, so that mistakes in it are shown like all others."""

    provision_secrets: tuple[SecretName, ...] = ()


@dataclass(frozen=True)
class HostSources:
    """Finds where in hosts.yml, host_vars and group_vars something about a host was written."""

    root: Path
    document: Document
    inventory: Inventory

    def problem(self, host: str, message: str, variable: str, *, expected: str | None = None,
                suggestion: str | None = None) -> Problem:  # fmt: skip
        """A problem with a variable of a host; with the host itself where the variable is not written down."""
        document, path = self.where(host, variable)
        return document.problem(path, message, expected=expected, suggestion=suggestion,
                                at_value=path[-1:] == (variable,), called=f"hosts.{host}")  # fmt: skip

    def where(self, host: str, variable: str) -> tuple[Document, KeyPath]:
        """The file, and the place in it, that decides a variable of a host."""
        for document, path in self._places(host):
            if at(document.root, (*path, variable)) is not None:
                return document, (*path, variable)
        return self.document, next(_paths_of_host(self.document.root, (), host), ())

    def _places(self, host: str) -> Iterator[tuple[Document, KeyPath]]:
        """Wherever a host's variables may stand, the strongest place first (Ansible's precedence)."""
        yield from self._files("host_vars", host)
        yield from ((self.document, path) for path in _paths_of_host(self.document.root, (), host))
        for group in reversed(self.inventory.groups_of(host)):
            yield from self._files("group_vars", group)
            yield from ((self.document, (*path, "vars")) for path in _paths_of_group(self.document.root, (), group))

    def _files(self, folder: str, name: str) -> Iterator[tuple[Document, KeyPath]]:
        for path in (self.root / folder / (name + suffix) for suffix in (".yml", ".yaml", ".json", "")):
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file() and not file.name.startswith("."):
                    yield read_document(self.root, str(file.relative_to(self.root))), ()


def read_hosts(sources: HostSources) -> tuple[dict[str, Host], list[Problem]]:
    """Every host of the inventory (without what could not be read of it), and everything that is wrong."""
    hosts: dict[str, Host] = {}
    problems: list[Problem] = []
    for name in sources.inventory.hosts():
        variables = sources.inventory.variables(name)
        problems += _misspelt(sources, name, variables)
        network = _model(Network, NETWORK, sources, name, variables, problems)
        needs = _model(Needs, NEEDS, sources, name, variables, problems) or _NO_NEEDS
        backup = _model(Backup, BACKUP, sources, name, variables, problems)
        groups = tuple(sorted(set(sources.inventory.groups_of(name)) - {"all", "ungrouped"}))
        secrets = _secrets(sources, name, variables, problems)
        address = variables.get(ADDRESS)
        hosts[name] = Host(name=name, address=None if address is None else str(address), network=network, needs=needs,
                           backup=backup, secrets=secrets, groups=groups,
                           provisioned=PROVISIONED_GROUP in groups)  # fmt: skip
    return hosts, [*dict.fromkeys(problems), *_address_problems(sources, hosts)]


def _model(model: type[Model], variable: str, sources: HostSources, host: str, variables: Variables,
           problems: list[Problem]) -> Model | None:  # fmt: skip
    if variable not in variables:
        return None
    document, path = sources.where(host, variable)
    return validate(model, variables[variable], document, path, problems)


def _secrets(sources: HostSources, host: str, variables: Variables, problems: list[Problem]) -> tuple[str, ...]:
    document, path = sources.where(host, SECRETS)
    given = {SECRETS: variables[SECRETS]} if SECRETS in variables else {}
    found = validate(_Secrets, given, document, path[:-1], problems)
    return found.provision_secrets if found else ()


def _misspelt(sources: HostSources, host: str, variables: Variables) -> Iterator[Problem]:
    """Ansible takes any variable; one that looks much like ours was meant to be ours."""
    for variable in variables.keys() - {*OURS, *TOLD}:
        if variable.startswith("provis") and (hint := did_you_mean(variable, OURS, cutoff=0.85)):
            yield sources.problem(host, f"unknown variable `{variable}`", variable, suggestion=hint)


def _address_problems(sources: HostSources, hosts: dict[str, Host]) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for host in hosts.values():
        yield from _own_address(sources, host)
        for address, variable in _addresses(host).items():
            other = taken.setdefault(address, host.name)
            if other != host.name:
                yield sources.problem(host.name, f"two hosts with one address: {address} is also that of `{other}`",
                                      variable, expected="an address that no other host has")  # fmt: skip


def _addresses(host: Host) -> dict[str, str]:
    """Each address of a host and the variable that says it."""
    network = {str(host.network.address.ip): NETWORK} if host.network else {}
    return {**network, **({host.address: ADDRESS} if host.address else {})}


def _own_address(sources: HostSources, host: Host) -> Iterator[Problem]:
    if not host.provisioned:
        return
    if host.address is None:
        yield sources.problem(host.name, f"missing variable `{ADDRESS}`", ADDRESS,
                              expected="an IPv4 address: a host is rebuilt also while DNS is down")  # fmt: skip
        return
    try:
        address = IPv4Address(host.address)
    except AddressValueError:
        yield sources.problem(host.name, f"`{host.address}` does not fit", ADDRESS,
                              expected="an IPv4 address: a host is rebuilt also while DNS is down")  # fmt: skip
        return
    if host.network and host.network.address.ip != address:
        yield sources.problem(
            host.name, f"`{NETWORK}` says {host.network.address.ip}, but `{ADDRESS}` says {address}", NETWORK,
            expected="one and the same address")  # fmt: skip


def _paths_of_host(node: Node | None, path: KeyPath, host: str) -> Iterator[KeyPath]:
    for group_path, group in _groups(node, path):
        if at(group, ("hosts",)) is not None and _has_key(at(group, ("hosts",)), host):
            yield (*group_path, "hosts", host)


def _paths_of_group(node: Node | None, path: KeyPath, name: str) -> Iterator[KeyPath]:
    return (group_path for group_path, _ in _groups(node, path) if group_path[-1] == name)


def _groups(node: Node | None, path: KeyPath) -> Iterator[tuple[KeyPath, Node]]:
    """Every group in an inventory's tree, with its path."""
    if isinstance(node, MappingNode):
        for key, group in node.value:
            here: KeyPath = (*path, str(key.value))
            yield here, group
            yield from _groups(at(group, ("children",)), (*here, "children"))


def _has_key(node: Any, name: str) -> bool:
    return isinstance(node, MappingNode) and any(key.value == name for key, _ in node.value)
