#!/usr/bin/python
"""Ansible module: the stacks of a host, brought to their state by the role's program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    module = UnloggedModule(
        # The task hides it. no_log here would blank every word of it, names among them, in what is answered.
        argument_spec={"document": {"type": "dict", "required": True, "no_log": False}},
        supports_check_mode=True,
    )
    if module.check_mode and not Path(PROGRAM).exists():
        module.exit_json(changed=True, actions=["the program is installed first"], waits=[], problems=[])
    words = [PROGRAM, "apply", *(["--check"] if module.check_mode else [])]
    _, out, err = module.run_command(words, data=json.dumps(module.params["document"]))
    last = _last(out)
    if last.get("kind") != "result":
        message = last.get("message") or (err or out).strip() or f"{PROGRAM} said nothing"
        module.fail_json(msg="\n".join(filter(None, (message, last.get("hint"), last.get("evidence")))))
    stacks: dict[str, dict[str, Any]] = last["stacks"]
    module.exit_json(
        changed=last["changed"],
        actions=[f"{name}: {action}" for name, told in stacks.items() for action in told["actions"]],
        waits=[told["waits"] for told in stacks.values() if told["waits"]],
        problems=[_problem(told) for told in stacks.values() if told["failed"]],
    )


def _problem(told: dict[str, Any]) -> str:
    return "\n".join(filter(None, (told["failed"], told["hint"] and f"→ {told['hint']}", told["evidence"])))


def _last(out: str) -> dict[str, Any]:
    """The last line that the program said."""
    for line in reversed(out.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        return found if isinstance(found, dict) else {}
    return {}


if __name__ == "__main__":
    main()
