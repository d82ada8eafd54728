"""The form of an inventory: what Ansible passes over in silence, or answers with its own stack.

These rules read the files as they are written, before Ansible does; each mistake has its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from homelab_provision.site.document import Document, KeyPath, at, is_null, plain, walk
from homelab_provision.site.inventory import Group, Inventory
from homelab_provision.site.problems import Problem
from homelab_provision.text import did_you_mean

PARTS = ("vars", "hosts", "children")
FOLDERS = {"group_vars": "group", "host_vars": "host"}
ENDINGS = (".yml", ".yaml", ".json")
INI = re.compile(r"^\[[\w.-]+(:\w+)?\]\s*$", re.MULTILINE)
CONVERT = "this looks like an INI inventory: `ansible-inventory -i FILE --list --yaml` writes it as YAML"
# Tags whose values are text, numbers, lists and mappings, and Ansible's own two.
KNOWN_TAGS = re.compile(
    r"tag:yaml\.org,2002:(str|int|float|bool|null|map|seq|timestamp|merge)|!vault|!vault-encrypted|!unsafe"
)
# Whom files of variables may be about without being a group or a host of the inventory.
ALWAYS = ("all", "ungrouped")


def check_form(document: Document, variables: Sequence[Document]) -> Iterator[Problem]:
    """Everything that is wrong with the form of hosts.yml and of the files of variables."""
    yield from _tags(document)
    yield from _groups(document)
    groups, hosts = names(document)
    for file in variables:
        yield from _tags(file)
        yield from _variables(file)
        yield from _somebodys(file, groups, hosts)


LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
LABEL_EXPECTED = "a label as DNS has it (RFC 1123): letters, digits and - inside, 63 at most"
# Names that mean something else: of our files, of Ansible, of SSH.
RESERVED = frozenset({"all", "latest", "localhost", "provisioned", "rescue", "secrets", "site", "ungrouped"})


def fault_of_name(name: str) -> str | None:
    """What is wrong with the name of a machine, or of a host that may be rebuilt; it names files, keys, a computer."""
    if name.lower() in RESERVED:
        return f"the name `{name}` is reserved"
    return None if LABEL.fullmatch(name) else "this is no name for a computer"


def _groups(document: Document) -> Iterator[Problem]:
    root = document.root
    if not isinstance(root, MappingNode) or not root.value:
        suggestion = CONVERT if INI.search(document.text) else None
        yield document.problem(
            (),
            "there are no groups",
            expected="an inventory: `all:` with `children:` and `hosts:`",
            suggestion=suggestion,
        )
        return
    for key, group in root.value:
        yield from _group(document, (str(key.value),), group)


def _group(document: Document, path: KeyPath, group: Node) -> Iterator[Problem]:
    if is_null(group):
        return
    if not isinstance(group, MappingNode):
        yield document.problem(path, "does not fit", at_value=True, expected=f"a group: {', '.join(PARTS)}")
        return
    for key, part in group.value:
        name = str(key.value)
        here: KeyPath = (*path, name)
        if name == "<<":
            continue
        if name not in PARTS:
            yield document.problem(
                here,
                "unknown key: Ansible would pass over it",
                expected=f"one of: {', '.join(PARTS)}",
                suggestion=did_you_mean(name, PARTS),
            )
        elif not (is_null(part) or isinstance(part, MappingNode)):
            what = "names with a colon behind each" if name != "vars" else "variables: names with values"
            yield document.problem(here, "does not fit", at_value=True, expected=what)
        elif isinstance(part, MappingNode) and name == "vars":
            yield from _priority(document, here, part)
        elif isinstance(part, MappingNode) and name == "children":
            for below, inner in part.value:
                yield from _group(document, (*here, str(below.value)), inner)
        elif isinstance(part, MappingNode) and name == "hosts":
            for host, own in part.value:
                if (many := how_many(str(host.value))) > MOST_HOSTS:
                    yield document.problem(
                        (*here, str(host.value)),
                        f"this range is {many} hosts",
                        expected=f"a range of at most {MOST_HOSTS} hosts",
                    )
                if not (is_null(own) or isinstance(own, MappingNode)):
                    yield document.problem(
                        (*here, str(host.value)),
                        "does not fit",
                        at_value=True,
                        expected="a host: variables with values, or nothing",
                    )


def _priority(document: Document, path: KeyPath, variables: Node) -> Iterator[Problem]:
    """The one variable of a group that Ansible itself reads as a number, and dies of if it is none."""
    node = at(variables, (PRIORITY,))
    if node is not None and not (isinstance(node, ScalarNode) and _WHOLE.fullmatch(str(node.value))):
        yield document.problem(
            (*path, PRIORITY),
            "does not fit",
            at_value=True,
            expected="a whole number: of groups side by side, the higher one wins",
        )


def _tags(document: Document) -> Iterator[Problem]:
    for path, node in walk(document.root):
        if not KNOWN_TAGS.fullmatch(str(node.tag)):
            tag = str(node.tag).replace("tag:yaml.org,2002:", "!!")
            yield document.problem(
                path,
                f"values of the kind `{tag}` are not understood here",
                at_value=True,
                expected="text, numbers, lists and mappings",
            )
        elif isinstance(node, ScalarNode) and any("\ud800" <= char <= "\udfff" for char in str(node.value)):
            yield document.problem(path, "this text holds half a character", at_value=True, expected="text in UTF-8")


def _variables(document: Document) -> Iterator[Problem]:
    root = document.root
    if root is None or is_null(root):
        return
    if not isinstance(root, MappingNode):
        yield document.problem((), "does not fit", expected="variables: names with values")
        return
    for key, _ in root.value:
        if not isinstance(key, ScalarNode):
            yield document.problem((), "a name that is a list or a mapping", expected="variables: names with values")
    yield from _priority(document, (), root)


def _somebodys(document: Document, groups: frozenset[str], hosts: frozenset[str]) -> Iterator[Problem]:
    """A file of variables is about a group or a host that there is."""
    folder, name = _about(document)
    kind = FOLDERS[folder]
    known = {*groups, *ALWAYS} if kind == "group" else hosts
    if name not in known:
        yield document.problem(
            (),
            f"there is no {kind} `{name}`, so nobody gets these variables",
            expected=f"the name of a {kind} of hosts.yml",
            suggestion=did_you_mean(name, known),
        )


def _about(document: Document) -> tuple[str, str]:
    """The folder that a file of variables lies in, and the group or host that it is about."""
    folder, name, *_ = Path(document.name).parts
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return folder, name


def names(document: Document) -> tuple[frozenset[str], frozenset[str]]:
    """The names of all groups and of all hosts (ranges written out), as far as they can be read."""
    groups: set[str] = set()
    hosts: set[str] = set()

    def descend(node: Node | None) -> None:
        if not isinstance(node, MappingNode):
            return
        for key, group in node.value:
            groups.add(str(key.value))
            below = at(group, ("hosts",))
            if isinstance(below, MappingNode):
                for host, _ in below.value:
                    hosts.update(written_out(str(host.value)))
            descend(at(group, ("children",)))

    descend(document.root)
    return frozenset(groups), frozenset(hosts)


PRIORITY = "ansible_group_priority"
_WHOLE = re.compile(r"[-+]?[0-9]{1,9}")
_RANGE = re.compile(r"\[([0-9]{1,9}|[A-Za-z]):([0-9]{1,9}|[A-Za-z])(?::([0-9]{1,9}))?\]")
MOST_HOSTS = 4096


def how_many(pattern: str) -> int:
    """The number of hosts that a range is, and Ansible would write out."""
    count = 1
    for found in _RANGE.finditer(pattern):
        first, last = (int(end) if end.isdigit() else ord(end) for end in found.groups()[:2])
        count *= max(1, len(range(first, last + 1, int(found[3] or 1) or 1)))
    return count


def written_out(pattern: str) -> list[str]:
    """The hosts of a range as Ansible writes it (`web[01:12].lan`, `db-[a:c]`); a plain name is itself."""
    found = _RANGE.search(pattern)
    if not found:
        return [pattern]
    first, last, step = found[1], found[2], int(found[3] or 1) or 1
    if first.isdigit() and last.isdigit():
        width = len(first) if first.startswith("0") else 0
        parts = [
            str(number).zfill(width) for number in range(int(first), min(int(last), int(first) + MOST_HOSTS) + 1, step)
        ]
    elif len(first) == len(last) == 1:
        parts = [chr(code) for code in range(ord(first), ord(last) + 1, step)]
    else:
        return [pattern]
    inner = (written_out(pattern[: found.start()] + part + pattern[found.end() :]) for part in parts)
    return list(islice(chain.from_iterable(inner), MOST_HOSTS))


def own_reading(document: Document, variables: Sequence[Document]) -> Inventory:
    """What can be read of an inventory that Ansible refuses: so that one mistake does not hide the others."""
    groups: dict[str, dict[str, Any]] = {}
    own: dict[str, dict[str, Any]] = {}

    def entry(name: str) -> dict[str, Any]:
        return groups.setdefault(name, {"hosts": [], "children": [], "vars": {}})

    def mapping(found: object) -> dict[str, Any]:
        return found if isinstance(found, dict) else {}

    def add(name: str, group: dict[str, Any]) -> None:
        here = entry(name)
        here["vars"] |= mapping(group.get("vars"))
        # `plain` leaves out names with nothing behind them.
        for host, given in mapping(group.get("hosts")).items():
            for one in written_out(host):
                here["hosts"].append(one)
                own.setdefault(one, {}).update(mapping(given))
        for child, below in mapping(group.get("children")).items():
            here["children"].append(child)
            add(child, mapping(below))

    for name, group in mapping(plain(document.root, keep_empty=True)).items():
        add(name, mapping(group))
    for file in variables:
        folder, name = _about(file)
        found = mapping(plain(file.root))
        if folder == "host_vars":
            own.setdefault(name, {}).update(found)
        else:
            entry(name)["vars"] |= found
    tops = [name for name in groups if name != "all"]
    entry("all")["children"] += [name for name in tops if name not in entry("all")["children"]]
    return Inventory(
        {name: Group(tuple(group["hosts"]), tuple(group["children"]), group["vars"]) for name, group in groups.items()},
        own,
    )
