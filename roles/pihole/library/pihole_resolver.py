#!/usr/bin/python
"""Ansible module: port 53 is given to the Pi-hole, and taken back if it does not answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.homelab.unlogged import UnloggedModule
from ansible.module_utils.homelab_pihole import dns, resolv

DOCUMENTATION = r"""
module: pihole_resolver
short_description: Port 53 for the Pi-hole of this host, which itself asks others
description:
  - Refuses a host that would resolve names through itself, or through the address that it shares with another.
  - Switches the listener of systemd-resolved off where there is one, starts the unit and asks it a real question. If
    no answer comes, everything is as it was before.
options:
  unit: {description: The unit that answers., type: str, default: pihole.service}
  name: {description: A name that it knows by itself., type: str, default: pi.hole}
  forbidden: {description: More addresses that this host must not ask., type: list, elements: str, default: []}
  deadline: {description: How long it may take until it answers., type: int, default: 180}
"""

EXAMPLES = r"""
- name: Give port 53 to the Pi-hole
  pihole_resolver:
"""

RETURN = r"""
actions: {description: "What was (or would be) done, in words.", type: list, elements: str, returned: always}
"""

DROP_IN = Path("/etc/systemd/resolved.conf.d/homelab-pihole.conf")
TEXT = "# Written by the role pihole: port 53 is for the Pi-hole.\n[Resolve]\nDNSStubListener=no\n"
RESOLVED = "systemd-resolved.service"


class Host:
    """What this module touches, and how it puts it back."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.before: tuple[Path | None, str] | None = None

    def run(self, *words: str) -> str:
        return str(self.module.run_command(list(words), check_rc=True)[1])

    def is_active(self, unit: str) -> bool:
        return bool(self.module.run_command(["systemctl", "is-active", "--quiet", unit])[0] == 0)

    def stub_is_in_the_way(self) -> bool:
        listens = self.is_active(RESOLVED) and not DROP_IN.exists()
        return listens or resolv.points_at_stub()

    def free_port(self) -> None:
        file = resolv.RESOLV_CONF
        self.before = (file.readlink() if file.is_symlink() else None, file.read_text() if file.exists() else "")
        DROP_IN.parent.mkdir(parents=True, exist_ok=True)
        DROP_IN.write_text(TEXT)
        self.run("systemctl", "try-restart", RESOLVED)
        if resolv.points_at_stub():
            _link(file, resolv.UPSTREAM)

    def put_back(self) -> None:
        if self.before is None:
            return
        link, text = self.before
        DROP_IN.unlink(missing_ok=True)
        if link is not None:
            _link(resolv.RESOLV_CONF, link)
        elif resolv.RESOLV_CONF.is_symlink():
            resolv.RESOLV_CONF.unlink()
            resolv.RESOLV_CONF.write_text(text)
        self.run("systemctl", "try-restart", RESOLVED)

    def refusal(self, forbidden: list[str]) -> str | None:
        own = resolv.own_addresses(self.run("ip", "-json", "address", "show"))
        text = resolv.RESOLV_CONF.read_text() if resolv.RESOLV_CONF.exists() else ""
        found: str | None = resolv.refusal(resolv.servers(text), [*own, *forbidden])
        return found

    def last_words(self, unit: str) -> str:
        words = ["journalctl", f"--unit={unit}", "--lines=12", "--no-pager", "--output=cat"]
        return str(self.module.run_command(words)[1]).strip()


def _link(file: Path, target: Path) -> None:
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(file)


def main() -> None:
    module = UnloggedModule(
        argument_spec={
            "unit": {"type": "str", "default": "pihole.service"},
            "name": {"type": "str", "default": "pi.hole"},
            "forbidden": {"type": "list", "elements": "str", "default": []},
            "deadline": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    host, unit, name = Host(module), module.params["unit"], module.params["name"]
    stub, active = host.stub_is_in_the_way(), host.is_active(unit)
    if not stub and (why := host.refusal(module.params["forbidden"])):
        module.fail_json(msg=_itself(why))
    actions = [
        *(["switch the listener of systemd-resolved off"] if stub else []),
        *([] if active else [f"start {unit}"]),
    ]
    if module.check_mode:
        module.exit_json(changed=bool(actions), actions=actions)
    if stub:
        host.free_port()
        if why := host.refusal(module.params["forbidden"]):
            host.put_back()
            module.fail_json(msg=_itself(why))
    if not active:
        module.run_command(["systemctl", "start", "--no-block", unit])
    began = time.monotonic()
    if not dns.wait(name, module.params["deadline"]):
        words = host.last_words(unit)
        if not active:
            module.run_command(["systemctl", "stop", unit])
        host.put_back()
        back = "" if active else "; port 53 is as it was before, and the unit is stopped"
        module.fail_json(
            msg=f"{unit} did not answer a question for {name} within {module.params['deadline']} s{back}\n{words}"
        )
    module.exit_json(changed=bool(actions), actions=actions, seconds=round(time.monotonic() - began, 1))


def _itself(why: str) -> str:
    hint = "name other servers (the router, or the upstreams) in `dns` of its provision_network"
    return f"{resolv.RESOLV_CONF}: this host must not resolve names through itself: {why} → {hint}"


if __name__ == "__main__":
    main()
