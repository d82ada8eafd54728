#!/usr/bin/python
"""Ansible module: what a Pi-hole 6 is to know, brought to its state through its API in one session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.homelab.unlogged import UnloggedModule
from ansible.module_utils.homelab_pihole import config, entries
from ansible.module_utils.homelab_pihole.client import GRAVITY_TIMEOUT, PiholeError, Session

DOCUMENTATION = r"""
module: pihole_settings
short_description: Settings, records, lists, domains, groups and clients of a Pi-hole 6
description:
  - Reads, compares, and writes what differs, in one session that is always closed. What is not declared is left alone.
  - A key that the environment of the container gives is refused, as FTL would never take it from here.
  - Where lists change, they are fetched; one that cannot be had is warned of.
options:
  url: {description: Where its API is., type: str, default: "http://127.0.0.1:80"}
  password_file: {description: The file of this host that holds the password., type: path, required: true}
  settings: {description: "Dotted keys, as in `dns.blockTTL`, with their values.", type: dict, default: {}}
  hosts: {description: "Local records, each an `address` and its `names`.", type: list, elements: dict, default: []}
  cnames: {description: "Other names: `name`, `target` and perhaps `ttl`.", type: list, elements: dict, default: []}
  groups: {description: "Groups, by `name`.", type: list, elements: dict, default: []}
  lists: {description: "Lists, by `address` and `type`.", type: list, elements: dict, default: []}
  domains: {description: "Domains, by `domain`, `type` and `kind`.", type: list, elements: dict, default: []}
  clients: {description: "Clients, by `client`.", type: list, elements: dict, default: []}
  exclusive: {description: Whether what is not declared goes; settings stay., type: bool, default: false}
  patience: {description: How long to wait for one that is starting., type: int, default: 60}
"""

EXAMPLES = r"""
- name: Tell the Pi-hole what it is to know
  pihole_settings:
    password_file: /etc/homelab-provision/pihole/password
    settings: {dns.blockTTL: 60}
    domains: [{domain: ads.example.net, type: deny, kind: exact}]
"""

RETURN = r"""
actions: {description: "What was (or would be) done, in words.", type: list, elements: str, returned: always}
"""

DICTS: dict[str, Any] = {"type": "list", "elements": "dict", "default": []}


def arguments() -> dict[str, Any]:
    return {
        "url": {"type": "str", "default": "http://127.0.0.1:80"},
        # The name of a file, and no secret.
        "password_file": {"type": "path", "required": True, "no_log": False},
        "settings": {"type": "dict", "default": {}},
        **dict.fromkeys(("hosts", "cnames", *entries.KINDS), DICTS),
        "exclusive": {"type": "bool", "default": False},
        "patience": {"type": "int", "default": 60},
    }


def bring(session: Session, params: dict[str, Any], check: bool) -> tuple[list[str], list[str]]:
    """What was done, or would be, and what is worth a warning. All is judged before anything is changed."""
    exclusive = params["exclusive"]
    found, ids = entries.current(session)
    wanted = [entries.wanted(kind, given) for kind in entries.KINDS for given in params[kind]]
    todo = entries.plan(found, wanted, exclusive)
    changed = _settings(session, params)
    actions = [*todo.words, *(_shown(name, *values) for name, values in changed.items())]
    if check or not actions:
        return actions, []
    entries.carry_out(session, todo, ids)
    warnings = []
    if todo.touches_lists:
        session.send("POST", "action/gravity", timeout=GRAVITY_TIMEOUT)
        actions.append("fetch the lists")
        ours = {each["address"] for each in params["lists"]}
        missing = [
            row["address"] for row in session.get("lists")["lists"] if row["address"] in ours and row["status"] > 2
        ]
        warnings = [f"the list {address} could not be fetched; what it had before stays" for address in missing]
    # Last, as FTL may start anew for it.
    if changed:
        tree = config.nested({name: value for name, (_, value) in changed.items()})
        session.send("PATCH", "config", {"config": tree})
    return actions, warnings


def _settings(session: Session, params: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    known = config.leaves(session.get("config?detailed=true")["config"])
    wanted = dict(params["settings"])
    exclusive = params["exclusive"]
    for name, given, made in (
        ("dns.hosts", params["hosts"], config.hosts),
        ("dns.cnameRecords", params["cnames"], config.cnames),
    ):
        if name in wanted:
            raise PiholeError(f"{name} is no setting here", "say pihole_hosts or pihole_cnames")
        if given or exclusive:
            wanted[name] = made(known[name]["value"], given, exclusive)
    return dict(config.differing(wanted, known))


def _shown(name: str, before: Any, after: Any) -> str:
    if isinstance(before, list) and isinstance(after, list):
        lines = [f"-{line!r}" for line in before if line not in after]
        lines += [f"+{line!r}" for line in after if line not in before]
        return f"{name}: {', '.join(lines) or 'in another order'}"
    return f"{name}: {before!r} → {after!r}"


def main() -> None:
    module = UnloggedModule(argument_spec=arguments(), supports_check_mode=True)
    try:
        password = Path(module.params["password_file"]).read_text().strip()
        # In check mode nothing was started just now that would be worth waiting for.
        patience = 3 if module.check_mode else module.params["patience"]
        with Session(module.params["url"], password, patience=patience) as session:
            actions, warnings = bring(session, module.params, module.check_mode)
    except (PiholeError, OSError) as error:
        if module.check_mode and not Path(module.params["password_file"]).exists():
            module.exit_json(changed=True, actions=["Pi-hole is set up first"])
        module.fail_json(msg=str(error))
    for warning in warnings:
        module.warn(warning)
    told = {"prepared": "".join(f"{action}\n" for action in actions)} if module._diff else {}
    module.exit_json(changed=bool(actions), actions=actions, diff=told)


if __name__ == "__main__":
    main()
