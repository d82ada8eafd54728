"""Who is played now makes no difference to what a host is told of its peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision import paths

pytestmark = pytest.mark.processes
CONTENT = paths.content("playbooks")
LIST = [
    {
        "name": "dns",
        "address": "192.0.2.53/24",
        "id": 53,
        "hosts": ["one", "two"],
        "check": [{"kind": "tcp", "port": 53}],
    }
]
INVENTORY: dict[str, Any] = {
    "all": {
        "vars": {"floating_ips": LIST, "ansible_connection": "local"},
        "children": {
            "provisioned": {
                "hosts": {
                    name: {"ansible_host": f"192.0.2.{number}"}
                    for name, number in (("one", 11), ("two", 12), ("other", 13))
                }
            },
            "floating": {"hosts": {"one": {}, "two": {}}},
        },
    }
}
PLAY = """
- hosts: provisioned:&floating
  gather_facts: false
  tasks:
    - ansible.builtin.include_vars: {role}/vars/main/files.yml
    - ansible.builtin.debug:
        msg: "told {{{{ __floating_ip_instances | to_json }}}}"
"""


def told(folder: Path, inventory: dict[str, Any], *words: str) -> tuple[int, str]:
    """What the play of one host is told, as site.yml would tell it."""
    role = paths.content("roles") / "floating_ip"
    (folder / "group_vars").mkdir(exist_ok=True)
    (folder / "group_vars" / "all.yml").write_text((CONTENT / "group_vars" / "all.yml").read_text())
    (folder / "play.yml").write_text(PLAY.format(role=role))
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (folder / "ansible.cfg").write_text(f"[defaults]\nfilter_plugins = {role}/filter_plugins\n")
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "--inventory=hosts.yml", "play.yml", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, " ".join(f"{done.stdout} {done.stderr}".split())


def test_a_limit_drops_no_peer(tmp_path: Path) -> None:
    status, whole = told(tmp_path, INVENTORY)
    assert status == 0, whole
    status, limited = told(tmp_path, INVENTORY, "--limit=one")
    assert status == 0, limited
    parts = [text.partition("told ")[2].partition('"')[0] for text in (whole, limited)]
    assert parts
    assert "ok: [two]" in whole
    assert "ok: [two]" not in limited
    for text in (whole, limited):
        message = text.partition('ok: [one] => { "msg": "told ')[2].partition('" }')[0]
        [found] = json.loads(message.replace('\\"', '"'))
        assert (found["source"], found["peers"], found["priority"]) == ("192.0.2.11", ["192.0.2.12"], 200)


@pytest.mark.negative
def test_a_host_outside_of_the_group_is_no_peer(tmp_path: Path) -> None:
    wrong = json.loads(json.dumps(INVENTORY))
    wrong["all"]["vars"]["floating_ips"][0]["hosts"] = ["one", "other"]
    status, said = told(tmp_path, wrong, "--limit=one")
    assert status != 0
    assert "other is no host of the groups `provisioned` and `floating`" in said
