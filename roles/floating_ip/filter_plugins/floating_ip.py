"""What a host is told about the addresses that float between it and others, and which lists are refused.

It runs on the controller, so nothing has reached a host when a list is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

Entry = Mapping[str, Any]
# The first host has the highest priority; the steps are so large that two that start together do not meet.
PRIORITIES = (200, 150, 100, 50)
NEEDS = {"dns": "name", "tcp": "port", "command": "command", "wireguard": "interface"}


class Refused(ValueError):
    """A list cannot be followed; the text says where and how to mend it."""


def instances(lists: Mapping[str, Sequence[Entry]], host: str, addresses: Mapping[str, str]) -> list[dict[str, Any]]:
    """The addresses that `host` may have, with its part in each.

    `lists` are those of all hosts, `addresses` their own. The answer does not depend on who is played now.
    Raises `Refused`.
    """
    distinct: list[Entry] = []
    for where in sorted(lists):
        for one, other in combinations(lists[where], 2):
            _apart(one, other)
        for entry in lists[where]:
            _sound(entry, where, addresses)
            if all(_identity(entry) != _identity(other) for other in distinct):
                distinct.append(entry)
    for one, other in combinations(distinct, 2):
        _apart(one, other)
    return [_part(entry, host, addresses) for entry in lists.get(host, []) if host in entry["hosts"]]


def _all(entry: Entry) -> list[str]:
    return [entry["address"], *(entry.get("also") or [])]


def _numbers(entry: Entry) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    return {ipaddress.ip_interface(each).ip for each in _all(entry)}


def _identity(entry: Entry) -> tuple[object, ...]:
    """What has to be the same on all hosts. What is checked may differ."""
    return entry["name"], entry["id"], tuple(_all(entry)), tuple(entry["hosts"])


def _sound(entry: Entry, where: str, addresses: Mapping[str, str]) -> None:
    name, hosts = entry["name"], list(entry["hosts"])
    at = f"floating_ips of {where}, {name!r}: "
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,14}", str(name)):
        raise Refused(f"{at}a name is 1 to 15 lower-case letters, digits and dashes, and begins with a letter")
    if not 1 <= int(entry["id"]) <= 255:
        raise Refused(f"{at}id {entry['id']} has to be a number from 1 to 255")
    if not 2 <= len(hosts) <= len(PRIORITIES) or len(set(hosts)) < len(hosts):
        raise Refused(f"{at}hosts are from two to four different ones, in the order of preference")
    if unknown := sorted(set(hosts) - addresses.keys()):
        raise Refused(f"{at}{', '.join(unknown)} is no host of the groups `provisioned` and `floating`")
    own = {each: _own(each, addresses[each], at) for each in hosts}
    kinds = {address.version for address in own.values()}
    if len(kinds) > 1:
        raise Refused(f"{at}its hosts answer at both IPv4 and IPv6 (ansible_host); they have to be of one kind")
    floating = [_floating(text, at) for text in _all(entry)]
    if not kinds & {each.version for each in floating}:
        kind = kinds.pop()
        raise Refused(f"{at}its hosts speak IPv{kind} with each other, so one address has to be IPv{kind}: add it")
    for each in floating:
        for other, address in own.items():
            if each.version == address.version and address not in each.network:
                raise Refused(f"{at}{each} lies outside of the network of {other} ({address}); is its prefix right?")
        if taken := [other for other, address in addresses.items() if str(each.ip) == address]:
            raise Refused(f"{at}{each.ip} is the own address of {taken[0]}; a floating one belongs to no host")
    if not entry["check"]:
        raise Refused(f"{at}check has to say what is true on a host that may have it, as in {{kind: tcp, port: 443}}")
    for check in entry["check"]:
        _askable(check, at)


def _own(host: str, text: str, at: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise Refused(f"{at}{host} has no address but {text!r}: set its ansible_host to a number") from None


def _floating(text: str, at: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        found = None
    if found is None or "/" not in text:
        raise Refused(f"{at}{text!r} is no address with its prefix, as in 192.168.1.53/24 or fd00:1::53/64")
    ip, network = found.ip, found.network
    whole = network.num_addresses > 2 and ip in (network.network_address, network.broadcast_address)
    if (ip.version == 4 and whole) or ip.is_multicast or ip.is_loopback or ip.is_link_local or ip.is_unspecified:
        raise Refused(f"{at}{text} is no address that a host can have for others")
    return found


def _askable(check: Entry, at: str) -> None:
    kind, needed = check["kind"], NEEDS.get(check["kind"])
    if needed is None:
        raise Refused(f"{at}check of kind {kind!r}: it has to be one of {', '.join(NEEDS)}")
    if not check.get(needed):
        raise Refused(f"{at}check of kind {kind} has no `{needed}`")
    for key in ("address", "answer"):
        if check.get(key):
            try:
                ipaddress.ip_address(check[key])
            except ValueError:
                raise Refused(f"{at}check: {key} {check[key]!r} has to be a number, not a name") from None
    if kind == "command" and not check["command"][0].startswith("/"):
        raise Refused(f"{at}check: the program {check['command'][0]!r} has to be a whole path")
    if not 0 < float(check.get("timeout") or 0.5) <= 5:
        raise Refused(f"{at}check: timeout has to be above 0 and at most 5 seconds")


def _apart(one: Entry, other: Entry) -> None:
    same = f"floating_ips: {one['name']!r} ({one['address']}, id {one['id']}, hosts {', '.join(one['hosts'])}) and "
    same += f"{other['name']!r} ({other['address']}, id {other['id']}, hosts {', '.join(other['hosts'])})"
    if one["name"] == other["name"]:
        raise Refused(f"{same} have one name; hosts that do not agree would both take it: say it once, for all")
    if one["id"] == other["id"]:
        raise Refused(f"{same} have one id; each needs a number of its own")
    if _numbers(one) & _numbers(other):
        raise Refused(f"{same} have one address")


def _part(entry: Entry, host: str, addresses: Mapping[str, str]) -> dict[str, Any]:
    kind = ipaddress.ip_address(addresses[host]).version
    first = next(each for each in _all(entry) if ipaddress.ip_interface(each).version == kind)
    return {
        "name": entry["name"],
        "id": int(entry["id"]),
        "priority": PRIORITIES[list(entry["hosts"]).index(host)],
        "source": addresses[host],
        "peers": [addresses[each] for each in entry["hosts"] if each != host],
        "address": first,
        "also": [each for each in _all(entry) if each != first],
        "check": [{key: value for key, value in check.items() if value is not None} for check in entry["check"]],
    }


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Any]:
        return {"floating_ip_instances": instances}
