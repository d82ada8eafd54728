#!/usr/bin/python
"""Ansible module: whether a host can serve models, asked before anything is changed on it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.homelab_inference import hardware, memory, preflight
from ansible.module_utils.homelab_inference.errors import Trouble
from ansible.module_utils.homelab_inference.wanted import settings

DOCUMENTATION = r"""
module: inference_preflight
short_description: Whether a host can serve models, asked before anything is changed on it
description:
  - Fails with everything that is refused, and warns of the rest. It needs nothing on the host and changes nothing.
options:
  settings:
    description: The role's variables about it, without C(inference_). What is empty is what the program knows itself.
    type: dict
    required: true
  reboot: {description: "Whether the host is started again for its kernel's arguments.", type: bool, default: false}
"""

EXAMPLES = r"""
- name: Ask whether this host can serve models
  inference_preflight:
    settings: {backend: vulkan}
"""

RETURN = r"""
drop_in: {description: "What /etc/default/grub.d is to say; empty if nothing.", type: str, returned: success}
restart: {description: Arguments that the running kernel still lacks., type: list, returned: success}
"""

ROOT = Path("/")
DROP_IN = "etc/default/grub.d/homelab-inference.cfg"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "settings": {"type": "dict", "required": True},
            "reboot": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        wanted = settings(json.dumps(module.params["settings"]))
        seen = hardware.read(ROOT, preflight.PACKAGES)
        found = preflight.look(seen, wanted)
        refused = [finding.text for finding in found if finding.level is preflight.Level.REFUSED]
        planned = None if refused else preflight.plan(seen, wanted)
    except Trouble as trouble:
        module.fail_json(msg="\n→ ".join(filter(None, (trouble.message, trouble.hint))))
    restart = waiting(planned, seen)
    for finding in found:
        comes = finding.gate == "arguments" and module.params["reboot"] and restart
        if finding.level is preflight.Level.WARNED and not comes:
            module.warn(finding.text)
    if refused:
        module.fail_json(msg="\n".join(["this host cannot serve models as it is told to:", *refused]))
    module.exit_json(changed=False, drop_in=planned.drop_in if planned else "", restart=restart)


def waiting(planned: Any, seen: Any) -> list[str]:
    """What another start would bring. What this one did not, although it was written before, no start will."""
    if planned is None or _tried(planned.drop_in):
        return []
    return [each.expected for each in memory.differences(planned, seen) if each.expected and not each.surplus]


def _tried(text: str) -> bool:
    file = ROOT / DROP_IN
    if not file.exists() or file.read_text() != text:
        return False
    began = time.time() - float((ROOT / "proc/uptime").read_text().split()[0])
    return file.stat().st_mtime < began


if __name__ == "__main__":
    main()
