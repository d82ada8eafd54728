"""What `site.yml` makes of a site's words: which shares a host with data mounts, and where its backups go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths

pytestmark = pytest.mark.processes

NAS = {"server": "192.0.2.20", "export": "/srv/backup"}
MEDIA = {"source": "192.0.2.20:/srv/media", "path": "/mnt/media", "profile": "media"}
WRITE = """\
- ansible.builtin.copy: {{dest: "{place}/{name}", content: "{{{{ {name} | to_json }}}}", mode: "0600"}}
  tags: look
"""


def played(tmp_path: Path, **given: Any) -> tuple[Any, Any]:
    """`nas_mounts` as its role gets it, and `postgres_backup_share`, of a host of the group `databases`: the playbook,
    the role `backup` and what `postgres` says of itself are ours, the work of the roles is not done."""
    roles = tmp_path / "roles"
    for name in [role.name for role in paths.content("roles").glob("*/") if role.name != "backup"]:
        (roles / name / "tasks").mkdir(parents=True)
        (roles / name / "tasks" / "main.yml").write_text("[]\n")
    for name, role in (("nas_mounts", "nas_mounts"), ("postgres_backup_share", "postgres")):
        (roles / role / "tasks" / "main.yml").write_text(WRITE.format(place=tmp_path, name=name))
    for name in ("backup", "postgres/defaults", "postgres/meta"):
        (roles / name).symlink_to(paths.content("roles") / name)
    host = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}", **given}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({group: {"hosts": {"db-wyse": host}} for group in ("provisioned", "databases")}))
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "--inventory",
            inventory,
            "--tags",
            "look",
            paths.content("playbooks") / "site.yml",
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANSIBLE_ROLES_PATH": str(roles), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    mounts, share = (json.loads((tmp_path / name).read_text()) for name in ("nas_mounts", "postgres_backup_share"))
    return mounts, share


def test_a_host_mounts_its_own_directory_of_the_share_beside_its_others(tmp_path: Path) -> None:
    mounts, share = played(tmp_path, provision_backup=NAS, provision_mounts=[MEDIA])
    assert mounts == [MEDIA, {"source": "192.0.2.20:/srv/backup/db-wyse", "path": "/mnt/backup", "profile": "backup"}]
    assert share == "/mnt/backup"


def test_without_a_share_nothing_of_it_is_mounted_and_nothing_backed_up(tmp_path: Path) -> None:
    assert played(tmp_path, provision_mounts=[MEDIA]) == ([MEDIA], "")


def test_a_share_that_is_mounted_otherwise_is_taken(tmp_path: Path) -> None:
    assert played(tmp_path, postgres_backup_share="/mnt/other") == ([], "/mnt/other")
