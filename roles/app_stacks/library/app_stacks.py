#!/usr/bin/python
"""Ansible module: the stacks of a host, brought to their state by the role's program."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.homelab import role_program
from ansible.module_utils.homelab.unlogged import UnloggedModule

DOCUMENTATION = r"""
module: app_stacks
short_description: The stacks of a host, brought to their state by the role's program
description:
  - Hands the document to C(homelab-stacks apply), which changes each by itself and goes back if one does not work.
  - The document has secrets in it; a task with this module wants C(no_log).
options:
  document:
    description: What is wanted, in the words of the role.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Bring the stacks to their state
  app_stacks:
    document: {host: site-wyse, share: null, stacks: [], projects: {}}
  no_log: true
"""

RETURN = r"""
actions: {description: What was (or would be) done, with the stack before it., type: list, returned: always}
waits: {description: What stacks wait for., type: list, returned: always}
problems: {description: "What could not be done: which stack, why, its last words.", type: list, returned: always}
"""

PROGRAM = "/usr/local/sbin/homelab-stacks"


def main() -> None:
    module = UnloggedModule(argument_spec=role_program.DOCUMENT, supports_check_mode=True)
    last = role_program.apply(module, PROGRAM)
    if last is None:
        module.exit_json(changed=True, actions=["the program is installed first"], waits=[], problems=[])
        return
    stacks: dict[str, dict[str, Any]] = last["stacks"]
    module.exit_json(
        changed=last["changed"],
        actions=[f"{name}: {action}" for name, told in stacks.items() for action in told["actions"]],
        waits=[told["waits"] for told in stacks.values() if told["waits"]],
        problems=[_problem(told) for told in stacks.values() if told["failed"]],
    )


def _problem(told: dict[str, Any]) -> str:
    return "\n".join(filter(None, (told["failed"], told["hint"] and f"→ {told['hint']}", told["evidence"])))


if __name__ == "__main__":
    main()
