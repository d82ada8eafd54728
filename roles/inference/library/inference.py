#!/usr/bin/python
"""Ansible module: what a host serves of language models, brought to its state by the role's program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: inference
short_description: What a host serves of language models, brought to its state by the role's program
description:
  - Hands the document to C(homelab-inference apply), which installs, fetches and tries before it changes anything.
options:
  document:
    description: What is wanted, in the words of the role. There are no secrets in it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Install, fetch and serve
  inference:
    document: {backend: cpu, build: {name: debian, method: distro}, models: [], models_folder: /srv/models}
"""

RETURN = r"""
actions: {description: What was (or would be) done., type: list, returned: always}
undeclared: {description: Models on the disk that nobody declares any more., type: list, returned: always}
"""

PROGRAM = "/usr/local/sbin/homelab-inference"


def main() -> None:
    module = AnsibleModule(
        # Its keys are names of variables about keys, and no secrets.
        argument_spec={"document": {"type": "dict", "required": True, "no_log": False}},
        supports_check_mode=True,
    )
    if module.check_mode and not Path(PROGRAM).exists():
        module.exit_json(changed=True, actions=["the program is installed first"], undeclared=[])
    words = [PROGRAM, "apply", *(["--check"] if module.check_mode else [])]
    _, out, err = module.run_command(words, data=json.dumps(module.params["document"]))
    last = _last(out)
    if last.get("kind") != "result":
        message = last.get("message") or (err or out).strip() or f"{PROGRAM} said nothing"
        module.fail_json(msg="\n→ ".join(filter(None, (message, last.get("hint")))))
    if last["undeclared"]:
        module.warn(f"models that nobody declares any more: {', '.join(last['undeclared'])} (homelab-inference purge)")
    module.exit_json(changed=last["changed"], actions=last["actions"], undeclared=last["undeclared"])


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
