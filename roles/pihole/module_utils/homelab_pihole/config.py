"""Settings key by key, and local records: what differs between what is wanted and what FTL says of itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .client import PiholeError

# What FTL shows in place of a secret, which therefore cannot be compared.
HIDDEN = "********"
SECRETS = ("webserver.api.password", "webserver.api.pwhash", "webserver.api.app_pwhash", "webserver.api.totp_secret")
# Before 6.3 this was a key; since then it is a table of two.
DOMAIN = "dns.domain"


def leaves(tree: Mapping[str, Any], above: str = "") -> dict[str, dict[str, Any]]:
    """The keys of `GET config?detailed=true` by their dotted names, each with what FTL says of it."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and "flags" in value and "value" in value:
            found[above + name] = value
        elif isinstance(value, dict):
            found |= leaves(value, f"{above}{name}.")
    return found


def renamed(wanted: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The keys in the words of this version of FTL. Raises `PiholeError` for what it cannot do."""
    answer = dict(wanted)
    if DOMAIN in known:  # older than 6.3, where the domain is always local
        if answer.pop(f"{DOMAIN}.local", True) is not True:
            raise PiholeError(f"{DOMAIN}.local: this Pi-hole is older than 6.3 and knows local domains alone")
        if f"{DOMAIN}.name" in answer:
            answer[DOMAIN] = answer.pop(f"{DOMAIN}.name")
    elif DOMAIN in answer:
        answer[f"{DOMAIN}.name"] = answer.pop(DOMAIN)
    return answer


def differing(wanted: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Current and wanted value of every key that differs. Raises `PiholeError` for what is not to be said."""
    found = {}
    for name, value in renamed(wanted, known).items():
        if name in SECRETS:
            raise PiholeError(f"{name} is a secret and no setting", "say pihole_password instead")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise PiholeError(f"{name}: this Pi-hole has no such setting", f"is one of these meant? {', '.join(near)}")
        leaf = known[name]
        if leaf["flags"].get("env_var"):
            variable = f"FTLCONF_{name.replace('.', '_')}"
            raise PiholeError(
                f"{name} is given by the environment of the container ({variable}), where nothing else may change it",
                "say it in one place: take it out of pihole_settings",
            )
        if not _same(leaf, value):
            found[name] = (leaf["value"], value)
    return found


def _same(leaf: Mapping[str, Any], value: Any) -> bool:
    current = leaf["value"]
    if str(leaf.get("type", "")).startswith("enum") and isinstance(value, str) and isinstance(current, str):
        return value.upper() == current.upper()
    return bool(current == value) and isinstance(current, bool) == isinstance(value, bool)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as the tree that FTL takes."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        place = tree
        *above, last = name.split(".")
        for word in above:
            place = place.setdefault(word, {})
        place[last] = value
    return tree


def hosts(current: Sequence[str], wanted: Iterable[Mapping[str, Any]], exclusive: bool) -> list[str]:
    """The lines of `dns.hosts`, `ADDRESS NAME…`. A name that is wanted has the wanted addresses alone."""
    lines = [" ".join([str(each["address"]), *map(str, each["names"])]) for each in wanted]
    ours = {name.lower() for each in wanted for name in each["names"]}
    kept = []
    for line in () if exclusive else current:
        address, *names = line.split()
        if line in lines:
            kept.append(line)
        elif others := [name for name in names if name.lower() not in ours]:
            kept.append(line if others == names else " ".join([address, *others]))
    return [*kept, *(line for line in lines if line not in kept)]


def cnames(current: Sequence[str], wanted: Iterable[Mapping[str, Any]], exclusive: bool) -> list[str]:
    """The lines of `dns.cnameRecords`, `ALIAS,TARGET[,TTL]`."""
    lines = [f"{each['name']},{each['target']}" + (f",{each['ttl']}" if each.get("ttl") else "") for each in wanted]
    ours = {line.split(",")[0].lower() for line in lines}
    kept = [line for line in current if line in lines or (not exclusive and line.split(",")[0].lower() not in ours)]
    return [*kept, *(line for line in lines if line not in kept)]
