"""systemd units: enabled or not, running or not."""

from __future__ import annotations

from typing import Any

PROPERTIES = "Id,LoadState,UnitFileState,ActiveState,ConditionResult,ConditionTimestampMonotonic"
UNIT = {
    "name": {"type": "str", "required": True},
    "enabled": {"type": "bool"},
    "active": {"type": "bool"},
}

# What a unit says about itself systemd has read already; reading it all again takes seconds on a small machine.
VERBS = {
    "disable": ("disable", "--no-reload"),
    "enable": ("enable", "--no-reload"),
    "stop": ("stop",),
    "start": ("start",),
}

Shown = dict[str, str]


def blocks(text: str) -> list[Shown]:
    """The answer of `systemctl show` for several units: one mapping each, in the order asked for."""
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]


def runs(shown: Shown) -> bool:
    return shown["ActiveState"] in ("active", "activating", "reloading", "refreshing")


def conditioned(shown: Shown) -> bool:
    """Whether systemd tried to start the unit and found that it does not belong on this machine."""
    tried = shown.get("ConditionTimestampMonotonic", "0") != "0"
    return tried and shown["ActiveState"] == "inactive" and shown.get("ConditionResult") == "no"


def actions(units: list[dict[str, Any]], shown: list[Shown]) -> list[list[str]]:
    """The calls of systemctl that bring the units to their state; none if they have it."""
    todo: dict[str, list[str]] = {verb: [] for verb in VERBS}
    for unit, current in zip(units, shown, strict=True):
        # Static, generated and indirect units have no switch: what pulls them in decides.
        if unit["enabled"] is True and current["UnitFileState"] in ("disabled", ""):
            todo["enable"].append(unit["name"])
        if unit["enabled"] is False and current["UnitFileState"] in ("enabled", "enabled-runtime"):
            todo["disable"].append(unit["name"])
        if unit["active"] is True and not runs(current) and not conditioned(current):
            todo["start"].append(unit["name"])
        if unit["active"] is False and runs(current):
            todo["stop"].append(unit["name"])
    running = {unit["name"] for unit, current in zip(units, shown, strict=True) if runs(current)}
    # Of one that runs, systemd keeps in mind whether it was enabled until it reads its files again.
    reload = bool(running & {*todo["enable"], *todo["disable"]})
    verbs = {verb: words[:1] if reload else words for verb, words in VERBS.items()}
    return [[*verbs[verb], *names] for verb, names in todo.items() if names]


def unknown(units: list[dict[str, Any]], shown: list[Shown]) -> list[str]:
    """Units that shall be there and are not (or are masked)."""
    return [
        f"{unit['name']} is {current['LoadState']}"
        for unit, current in zip(units, shown, strict=True)
        if current["LoadState"] != "loaded" and (unit["enabled"] or unit["active"])
    ]


def show(module: Any, names: list[str]) -> list[Shown]:
    _, text, _ = module.run_command(["systemctl", "show", f"--property={PROPERTIES}", "--", *names], check_rc=True)
    return blocks(text)


def tried_again(module: Any, units: list[dict[str, Any]], shown: list[Shown]) -> list[list[str]]:
    """Try once more to start what systemd has skipped, as a condition may hold by now: the calls that did so."""
    names = [
        unit["name"] for unit, current in zip(units, shown, strict=True) if unit["active"] and conditioned(current)
    ]
    if not names or module.check_mode:
        return []
    module.run_command(["systemctl", "start", *names])
    started = [name for name, current in zip(names, show(module, names), strict=True) if not conditioned(current)]
    return [["start", *started]] if started else []


def settle(module: Any, units: list[dict[str, Any]]) -> dict[str, Any]:
    """Enable, disable, start and stop what differs."""
    names = [unit["name"] for unit in units]
    shown = show(module, names)
    todo = actions(units, shown)
    strange = unknown(units, shown)
    # In check mode the package that brings a unit may not be installed yet.
    if strange and not module.check_mode:
        module.fail_json(msg="; ".join(strange))
    for action in () if module.check_mode else todo:
        code, _, err = module.run_command(["systemctl", *action])
        if code:
            _, story, _ = module.run_command(["systemctl", "status", "--no-pager", "--lines=15", *action[1:]])
            module.fail_json(msg=f"systemctl {' '.join(action)} failed: {err.strip()}\n{story}")
    again = tried_again(module, units, shown)
    started = {name for action in again for name in action[1:]}
    skipped = [
        unit["name"]
        for unit, current in zip(units, shown, strict=True)
        if conditioned(current) and unit["name"] not in started
    ]
    return {"changed": bool(todo or again or strange), "actions": todo + again, "conditions": skipped}
