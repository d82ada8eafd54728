"""Hosts: what the toolkit wants to know of an inventory, with the line where each thing was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import AddressValueError, IPv4Address, ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator
from ruamel.yaml.nodes import MappingNode, Node

from homelab_provision import paths
from homelab_provision.site.document import Document, KeyPath, at
from homelab_provision.site.form import LABEL_EXPECTED, RESERVED, fault_of_name, written_out
from homelab_provision.site.inventory import Inventory, Variables
from homelab_provision.site.models import PROVISIONED_GROUP, Backup, Frozen, Host, Needs, Network
from homelab_provision.site.problems import Problem
from homelab_provision.site.sealed import read_variables
from homelab_provision.site.validation import Model, validate
from homelab_provision.site.values import SECRET_PREFIX, SecretName, computer_address, expected
from homelab_provision.site.vpn import Vpn, check_vpn
from homelab_provision.site.wireguard import PRIVATE, SHARED
from homelab_provision.text import did_you_mean

NETWORK, NEEDS, ADDRESS = "provision_network", "provision_needs", "ansible_host"
BACKUP, SECRETS, VPN = "provision_backup", "provision_secrets", "provision_vpn"
CONNECTION, SSH = "ansible_connection", ("ssh", "smart", "ansible.builtin.ssh")
EXPORTS = "nfs_server_exports"  # who has it keeps the backups of the others
MOUNTS, STACKS = "provision_mounts", "app_stacks"
OURS = (NETWORK, NEEDS, BACKUP, SECRETS, VPN, MOUNTS)
# What `site.yml` is told by the toolkit itself, and a playbook may look at.
TOLD = ("provision_macs", "provision_authority", "provision_run", "provision_restore")
_NO_NEEDS = Needs()
_NO_ROLES: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def _not_of_the_vpn(name: str) -> str:
    if f"{SECRET_PREFIX}{name}".startswith((PRIVATE, SHARED)):
        raise expected("another name: those that begin so are the VPN's, which makes them itself")
    return name


class _Secrets(Frozen):
    """The list of a host's secrets as a model, so that mistakes in it are shown like all others."""

    provision_secrets: tuple[Annotated[SecretName, AfterValidator(_not_of_the_vpn)], ...] = ()


@dataclass(frozen=True)
class HostSources:
    """Finds where in hosts.yml, host_vars and group_vars something about a host was written."""

    root: Path
    document: Document
    inventory: Inventory

    def problem(
        self, host: str, message: str, variable: str, *, expected: str | None = None, suggestion: str | None = None
    ) -> Problem:
        """A problem with a variable of a host; with the host itself where the variable is not written down."""
        document, path = self.where(host, variable)
        return document.problem(
            path,
            message,
            expected=expected,
            suggestion=suggestion,
            at_value=path[-1:] == (variable,),
            called=f"hosts.{host}",
        )

    def named(self, host: str, message: str) -> Problem:
        """A problem with the name of a host."""
        path = next(_paths_of_host(self.document.root, (), host), ())
        expected = f"{LABEL_EXPECTED}; none of {', '.join(sorted(RESERVED))}"
        return self.document.problem(path, message, expected=expected, called=f"hosts.{host}")

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
                    yield read_variables(self.root, str(file.relative_to(self.root))), ()


def read_hosts(
    sources: HostSources, roles: Mapping[str, tuple[str, ...]] = _NO_ROLES
) -> tuple[dict[str, Host], list[Problem]]:
    """Every host of the inventory (without what could not be read of it), and everything that is wrong. `roles` are
    those of each host that a play is for."""
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
        if PROVISIONED_GROUP in groups and (fault := fault_of_name(name)):
            problems.append(sources.named(name, fault))
        hosts[name] = Host(
            name=name,
            address=None if address is None else str(address),
            network=network,
            needs=needs,
            backup=backup,
            vpn=_model(Vpn, VPN, sources, name, variables, problems),
            secrets=secrets,
            uses=_uses(variables),
            groups=groups,
            roles=roles.get(name, ()),
            provisioned=PROVISIONED_GROUP in groups,
        )
    found = [*dict.fromkeys(problems), *_address_problems(sources, hosts), *_vpn_problems(sources, hosts)]
    return hosts, found


def _model(
    model: type[Model], variable: str, sources: HostSources, host: str, variables: Variables, problems: list[Problem]
) -> Model | None:
    if variable not in variables:
        return None
    document, path = sources.where(host, variable)
    return validate(model, variables[variable], document, path, problems)


def _secrets(sources: HostSources, host: str, variables: Variables, problems: list[Problem]) -> tuple[str, ...]:
    document, path = sources.where(host, SECRETS)
    given = {SECRETS: variables[SECRETS]} if SECRETS in variables else {}
    found = validate(_Secrets, given, document, path[:-1], problems, whole=False)
    return found.provision_secrets if found else ()


def _uses(variables: Variables) -> dict[str, str]:
    """Where a host's shares and the databases of its stacks are, as far as roles are told so in plain words."""
    used = {}
    for stack in _entries(variables.get(STACKS)):
        for database in [stack.get("database"), *_entries(stack.get("databases"))]:
            if isinstance(database, Mapping) and database.get("host"):
                used[str(database["host"])] = "the databases of its stacks"
    for share in _entries(variables.get(MOUNTS)):
        source = str(share.get("source", ""))  # server:/path, or //server/share
        if server := source[2:].partition("/")[0] if source.startswith("//") else source.partition(":")[0]:
            used[server] = "its shares"
    return used


def _entries(written: object) -> list[Mapping[str, Any]]:
    """The mappings of a list. Whatever else stands there, the role that it is for refuses."""
    return [each for each in written if isinstance(each, Mapping)] if isinstance(written, list) else []


def _vpn_problems(sources: HostSources, hosts: Mapping[str, Host]) -> Iterator[Problem]:
    """What is wrong with the VPN as a whole. Each host may have it from another place, but there is one."""
    first = next((host for host in hosts.values() if host.vpn), None)
    if first is None or first.vpn is None:
        return
    document, path = sources.where(first.name, VPN)
    yield from check_vpn(first.vpn, hosts, document, path)
    for host in hosts.values():
        if host.vpn and host.vpn != first.vpn:
            message = f"`{VPN}` is another one than that of `{first.name}`"
            yield sources.problem(host.name, message, VPN, expected="one VPN for all, described in group_vars/all")


def _misspelt(sources: HostSources, host: str, variables: Variables) -> Iterator[Problem]:
    """Ansible takes any variable; one that looks much like ours, or like a role's, was meant to be that."""
    known = {*OURS, *TOLD, *variables_of_roles()}
    for variable in sorted(variables.keys() - known):
        if not variable.startswith("ansible_") and (hint := did_you_mean(variable, known, cutoff=0.87)):
            yield sources.problem(host, f"unknown variable `{variable}`", variable, suggestion=hint)


@cache
def variables_of_roles() -> frozenset[str]:
    """The variables that our roles take, as their argument specs say."""
    names: set[str] = set()
    for file in sorted(paths.content("roles").glob("*/meta/argument_specs.yml")):
        entries = yaml.safe_load(file.read_text())["argument_specs"].values()
        names |= {name for entry in entries for name in entry.get("options", {})}
    return frozenset(names)


def _address_problems(sources: HostSources, hosts: dict[str, Host]) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for host in hosts.values():
        yield from _own_address(sources, host)
        yield from _own_connection(sources, host)
        for address, variable in _addresses(host).items():
            other = taken.setdefault(address, host.name)
            # Ordinary inventories have several names for one computer; one that is rebuilt is nobody else.
            if other != host.name and (host.provisioned or hosts[other].provisioned):
                yield sources.problem(
                    host.name,
                    f"two hosts with one address: {address} is also that of `{other}`",
                    variable,
                    expected="an address that no other host has",
                )


def _addresses(host: Host) -> dict[str, str]:
    """Each address of a host and the variable that says it. Names and templates are no addresses."""
    network = {str(host.network.address.ip): NETWORK} if host.network else {}
    try:
        return {**network, **({str(ip_address(host.address)): ADDRESS} if host.address else {})}
    except ValueError:
        return network


def _own_connection(sources: HostSources, host: Host) -> Iterator[Problem]:
    """How Ansible reaches a host that is rebuilt: by ssh, which looks at its key. Another way would look at none, or
    run what is meant for the host on this computer."""
    said = sources.inventory.variables(host.name).get(CONNECTION, "ssh")
    if host.provisioned and said not in SSH:
        yield sources.problem(
            host.name,
            f"`{CONNECTION}: {said}` does not fit",
            CONNECTION,
            expected="ssh, or nothing: such a host is known by its SSH host key",
        )


def _own_address(sources: HostSources, host: Host) -> Iterator[Problem]:
    if not host.provisioned:
        return
    if host.address is None:
        yield sources.problem(
            host.name,
            f"missing variable `{ADDRESS}`",
            ADDRESS,
            expected="an IPv4 address: a host is rebuilt also while DNS is down",
        )
        return
    try:
        address = IPv4Address(host.address)
    except AddressValueError:
        yield sources.problem(
            host.name,
            f"`{host.address}` does not fit",
            ADDRESS,
            expected="an IPv4 address: a host is rebuilt also while DNS is down",
        )
        return
    try:
        computer_address(address)
    except ValueError as error:
        yield sources.problem(host.name, f"`{host.address}` does not fit", ADDRESS, expected=str(error))
        return
    if host.backup and host.backup.server == address and EXPORTS not in sources.inventory.variables(host.name):
        yield sources.problem(
            host.name,
            f"`{BACKUP}` says that the host keeps its backups itself ({address})",
            BACKUP,
            expected="the NFS server that keeps the hosts' data",
        )
    if host.network and host.network.address.ip != address:
        yield sources.problem(
            host.name,
            f"`{NETWORK}` says {host.network.address.ip}, but `{ADDRESS}` says {address}",
            NETWORK,
            expected="one and the same address",
        )


def _paths_of_host(node: Node | None, path: KeyPath, host: str) -> Iterator[KeyPath]:
    for group_path, group in _groups(node, path):
        if key := _key_of(at(group, ("hosts",)), host):
            yield (*group_path, "hosts", key)


def _paths_of_group(node: Node | None, path: KeyPath, name: str) -> Iterator[KeyPath]:
    return (group_path for group_path, _ in _groups(node, path) if group_path[-1] == name)


def _groups(node: Node | None, path: KeyPath) -> Iterator[tuple[KeyPath, Node]]:
    """Every group in an inventory's tree, with its path."""
    if isinstance(node, MappingNode):
        for key, group in node.value:
            here: KeyPath = (*path, str(key.value))
            yield here, group
            yield from _groups(at(group, ("children",)), (*here, "children"))


def _key_of(node: Any, host: str) -> str | None:
    """The key that names a host: its own name, or a range (`web[1:3]`) that it is one of."""
    if not isinstance(node, MappingNode):
        return None
    keys = [str(key.value) for key, _ in node.value]
    return host if host in keys else next((key for key in keys if "[" in key and host in written_out(key)), None)
