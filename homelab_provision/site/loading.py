"""From a directory to a `Site`, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from homelab_provision.site.checks import check_machines, check_players
from homelab_provision.site.document import Document, read_document
from homelab_provision.site.form import CONVERT, ENDINGS, FOLDERS, INI, check_form, own_reading
from homelab_provision.site.hosts import HostSources, read_hosts
from homelab_provision.site.inventory import HOSTS_FILE, Inventory, read_inventory
from homelab_provision.site.machines import MACHINES_FILE, read_machines
from homelab_provision.site.models import Host, Site
from homelab_provision.site.problems import Problem, SiteError
from homelab_provision.site.roles import read_plays, roles_by_host
from homelab_provision.site.sealed import password_of, read_variables


def load_site(root: Path) -> Site:
    """Read and validate the site at `root`. Raises SiteError with all problems at once."""
    root = root.expanduser().resolve()
    if not root.is_dir():
        raise SiteError(str(root), [Problem(str(root), 0, "", "there is no such directory")])
    hosts, problems, warnings = _hosts(root)
    site = assemble(root, hosts, read_document(root, MACHINES_FILE), problems)
    return replace(site, warnings=warnings)


def assemble(root: Path, hosts: Mapping[str, Host] | None, document: Document, problems: list[Problem]) -> Site:
    """Join hosts (None if the inventory cannot be read) with a machines.yml. Raises SiteError."""
    read = read_machines(document)
    problems = [*problems, *read.problems, *check_machines(document)]
    if hosts is not None:
        problems += check_players(hosts, document)
    if problems:
        raise SiteError(str(root), sorted(problems, key=lambda problem: (problem.file, problem.line)))
    return Site(
        root=root,
        name=root.name,
        hosts=MappingProxyType(dict(hosts or {})),
        machines=MappingProxyType(dict(read.machines)),
        parts=MappingProxyType(dict(read.parts)),
        lab=read.lab,
        image_max_age=read.settings.image_max_age,
    )


def _variables(root: Path) -> list[Document]:
    """The files of variables; sealed ones are opened with the site's password."""
    files = [file for folder in FOLDERS for file in sorted((root / folder).rglob("*"))]
    return [
        read_variables(root, str(file.relative_to(root)))
        for file in files
        if file.is_file() and not file.name.startswith(".") and file.suffix in ("", *ENDINGS)
    ]


def _strange_files(root: Path) -> list[Problem]:
    """Pipes and devices among the variables: Ansible would wait for them, or read them without end."""
    problems: list[Problem] = []
    for file in (file for folder in ("group_vars", "host_vars") for file in sorted((root / folder).rglob("*"))):
        if file.exists() and not (file.is_file() or file.is_dir()):
            name = str(file.relative_to(root))
            problems.append(Problem(name, 0, "", "this is neither a file nor a directory", "a YAML file in UTF-8"))
    return problems


def _hosts(root: Path) -> tuple[Mapping[str, Host] | None, list[Problem], tuple[str, ...]]:
    """The hosts (None if the inventory cannot be read at all), the problems with them, and Ansible's warnings."""
    document = read_document(root, HOSTS_FILE)
    if document.root is None and document.problems:
        ini = CONVERT if INI.search(document.text) else None
        return None, [replace(problem, suggestion=ini) for problem in document.problems], ()
    if strange := _strange_files(root):
        return None, [*document.problems, *strange], ()
    variables = _variables(root)
    broken = [*document.problems, *(problem for file in variables for problem in file.problems)]
    broken += check_form(document, variables)
    plays, unclear = read_plays()
    broken += unclear
    if broken:
        inventory: Inventory | Problem = own_reading(document, variables)
    else:
        sealed = any(file.sealed for file in variables)
        inventory = read_inventory(root, password_of(root) if sealed else None, [play.hosts for play in plays])
    if isinstance(inventory, Problem):
        return None, [inventory], ()
    roles, refused = ({}, []) if broken else roles_by_host(plays, inventory.matched)
    hosts, problems = read_hosts(HostSources(root, document, inventory), roles)
    return None if broken else hosts, [*broken, *refused, *problems], inventory.warnings
