"""A new machine in the text of a machines.yml: everything that stands there already stays byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from homelab_provision.site.document import child, is_null, parse_document
from homelab_provision.site.models import Disk, Machine, Passport

# What needs no quotes in YAML, wherever it stands.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./()-]*(?: [A-Za-z0-9_./()-]+)*")
_NOT_A_TEXT = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


def with_machine(text: str, machine: Machine, remark: str) -> str | None:
    """`text` with one machine more, behind all others; `remark` is said behind its name. `None`: there is no place that
    could be found without risk."""
    pair = child(parse_document("machines.yml", text).root, "machines")
    key, names = pair or (None, None)
    if key is None or names is None:
        return None
    newline = "\r\n" if "\r\n" in text else "\n"
    if is_null(names) and not names.value:
        at, indent = _line_end(text, text.index(":", key.end_mark.index)), key.start_mark.column + 2
    elif isinstance(names, MappingNode) and names.value and not names.flow_style:
        at, indent = _behind(text, names), names.value[0][0].start_mark.column
    else:
        return None
    block = newline.join(f"{' ' * indent}{line}".rstrip() for line in lines(machine, remark))
    before, after = text[:at], text[at:]
    gap = "" if before.endswith(("\n", "\r")) or not before else newline
    return (
        f"{before}{gap}{newline if names.value else ''}{block}{newline if not after.startswith(newline) else ''}{after}"
    )


def lines(machine: Machine, remark: str) -> Iterator[str]:
    """A machine as somebody would write it, line by line."""
    yield f"{machine.name}:  # {remark}"
    if machine.model:
        yield f"  model: {scalar(machine.model)}"
    if machine.address:
        yield f"  address: {machine.address}"
    for key in ("way", "operator"):
        if getattr(machine, key) != Machine.model_fields[key].default:
            yield f"  {key}: {scalar(getattr(machine, key))}"
    yield "  passport:"
    yield from (f"    {line}" for line in _passport(machine.passport))


def _passport(passport: Passport) -> Iterator[str]:
    for key in ("serial", "board_serial", "uuid", "product"):
        if value := getattr(passport, key):
            yield f"{key}: {scalar(value)}"
    yield f"macs: [{', '.join(scalar(mac) for mac in passport.macs)}]"
    yield f"firmware: {passport.firmware}"
    if passport.memory_mib:
        yield f"memory_mib: {passport.memory_mib}"
    if passport.cores:
        yield f"cores: {passport.cores}"
    if passport.cpu_flags:
        yield f"cpu_flags: [{', '.join(map(scalar, passport.cpu_flags))}]"
    yield "disks:"
    yield from (f"  - {{{', '.join(_disk(disk))}}}" for disk in passport.disks)


def _disk(disk: Disk) -> Iterator[str]:
    yield f"serial: {scalar(disk.serial)}"
    if disk.wwn:
        yield f"wwn: {scalar(disk.wwn)}"
    yield f"size: {disk.size}"
    yield f"use: {disk.use}"
    if disk.model:
        yield f"model: {scalar(disk.model)}"


def scalar(value: str) -> str:
    """A text that YAML takes for this very text: plain where that is safe, else quoted (JSON's quotes are YAML's)."""
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_A_TEXT:
        return value
    return json.dumps(value)


def _behind(text: str, names: MappingNode) -> int:
    """Where the last machine ends: behind its last line, and behind comments below it that are indented like parts of
    it."""
    at = _line_end(text, _last(names).end_mark.index)
    last = _last(names)
    if isinstance(last, ScalarNode) and last.style in ("|", ">"):  # its end is where the next thing begins
        at = len(text[: last.end_mark.index].rstrip())
    indent = names.value[0][0].start_mark.column
    for line in text[at:].splitlines(keepends=True)[1:]:
        comment = line.lstrip(" ")
        if comment.strip() and not (comment.startswith("#") and len(line) - len(comment) > indent):
            break
        if comment.startswith("#"):
            at = text.index(line.rstrip("\r\n"), at) + len(line.rstrip("\r\n"))
    return at


def _last(node: Node) -> Node:
    """The last thing that is written below a node."""
    while isinstance(node, MappingNode | SequenceNode) and node.value and not node.flow_style:
        below = node.value[-1]
        key, node = below if isinstance(node, MappingNode) else (None, below)
        if key is not None and is_null(node) and not node.value:
            return key  # type: ignore[no-any-return]  # ruamel's nodes have no types
    return node


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return end - 1 if end and text[end - 1] == "\r" else end
