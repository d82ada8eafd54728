#!/usr/bin/python
"""Ansible module: what a host serves of language models, brought to its state by the role's program."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.homelab import role_program

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
    module = AnsibleModule(argument_spec=role_program.DOCUMENT, supports_check_mode=True)
    last = role_program.apply(module, PROGRAM)
    if last is None:
        module.exit_json(changed=True, actions=["the program is installed first"], undeclared=[])
        return
    if last["undeclared"]:
        module.warn(f"models that nobody declares any more: {', '.join(last['undeclared'])} (homelab-inference purge)")
    module.exit_json(changed=last["changed"], actions=last["actions"], undeclared=last["undeclared"])


if __name__ == "__main__":
    main()
