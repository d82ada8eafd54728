#!/usr/bin/python
"""Ansible module: systemd units, brought to their state in one round trip."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: units
short_description: Enable, disable, start and stop many systemd units in one task
description:
  - One C(systemctl show) for all units; acts only on those that differ.
  - A unit that systemd itself skips, because a C(Condition) of it does not hold here, counts as settled.
options:
  units:
    description: The units.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {type: str, required: true, description: "With its suffix: C(chrony.service)."}
      enabled: {type: bool, description: Whether it comes with the boot; omit to leave that alone.}
      active: {type: bool, description: Whether it runs; omit to leave that alone.}
"""

EXAMPLES = r"""
- name: Keep the time
  units:
    units:
      - {name: chrony.service, enabled: true, active: true}
"""

RETURN = r"""
actions: {description: Calls of systemctl that were made (or would be)., type: list, elements: list, returned: always}
conditions: {description: Units that systemd skips here., type: list, elements: str, returned: always}
"""

PROPERTIES = "Id,LoadState,UnitFileState,ActiveState,ConditionResult,ConditionTimestampMonotonic"
UNIT = {
    "name": {"type": "str", "required": True},
    "enabled": {"type": "bool"},
    "active": {"type": "bool"},
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
    todo: dict[str, list[str]] = {"disable": [], "enable": [], "stop": [], "start": []}
    for unit, seen in zip(units, shown, strict=True):
        # Static, generated and indirect units have no switch: what pulls them in decides.
        if unit["enabled"] is True and seen["UnitFileState"] in ("disabled", ""):
            todo["enable"].append(unit["name"])
        if unit["enabled"] is False and seen["UnitFileState"] in ("enabled", "enabled-runtime"):
            todo["disable"].append(unit["name"])
        if unit["active"] is True and not runs(seen) and not conditioned(seen):
            todo["start"].append(unit["name"])
        if unit["active"] is False and runs(seen):
            todo["stop"].append(unit["name"])
    return [[verb, *names] for verb, names in todo.items() if names]


def unknown(units: list[dict[str, Any]], shown: list[Shown]) -> list[str]:
    """Units that shall be there and are not (or are masked)."""
    return [
        f"{unit['name']} is {seen['LoadState']}"
        for unit, seen in zip(units, shown, strict=True)
        if seen["LoadState"] != "loaded" and (unit["enabled"] or unit["active"])
    ]


def main() -> None:
    module = AnsibleModule(
        argument_spec={"units": {"type": "list", "elements": "dict", "required": True, "options": UNIT}},
        supports_check_mode=True,
    )
    units = module.params["units"]
    names = [unit["name"] for unit in units]
    if not names:
        module.exit_json(changed=False, actions=[], conditions=[])
    _, text, _ = module.run_command(["systemctl", "show", f"--property={PROPERTIES}", "--", *names], check_rc=True)
    shown = blocks(text)
    todo = actions(units, shown)
    if strange := unknown(units, shown):
        # In check mode the package that brings the unit may not be installed yet.
        if not module.check_mode:
            module.fail_json(msg="; ".join(strange))
        module.exit_json(changed=True, actions=todo, conditions=[])
    for action in () if module.check_mode else todo:
        code, _, err = module.run_command(["systemctl", *action])
        if code:
            _, story, _ = module.run_command(["systemctl", "status", "--no-pager", "--lines=15", *action[1:]])
            module.fail_json(msg=f"systemctl {' '.join(action)} failed: {err.strip()}\n{story}")
    skipped = [unit["name"] for unit, seen in zip(units, shown, strict=True) if conditioned(seen)]
    module.exit_json(changed=bool(todo), actions=todo, conditions=skipped)


if __name__ == "__main__":
    main()
