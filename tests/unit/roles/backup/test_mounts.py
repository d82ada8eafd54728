"""What `site.yml` makes of a site's words: which shares a host mounts, and where its backups go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths
from homelab_provision.site.roles import read_plays

pytestmark = pytest.mark.processes

NAS = {"server": "192.0.2.20", "export": "/srv/backup"}
MEDIA = {"source": "192.0.2.20:/srv/media", "path": "/mnt/media", "profile": "media"}
OWN = {"source": "192.0.2.20:/srv/backup/db-wyse", "path": "/mnt/backup", "profile": "backup"}
WRITE = """\
- ansible.builtin.copy: {{dest: "{place}/{name}", content: "{{{{ {name} | to_json }}}}", mode: "0600"}}
  tags: look
"""


def played(tmp_path: Path, groups: Sequence[str] = ("databases",), **given: Any) -> tuple[Any, Any]:
    """`nas_mounts` as its role gets it at last, and `postgres_backup_share`, of a host of these groups: the playbook,
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
    inventory.write_text(json.dumps({group: {"hosts": {"db-wyse": host}} for group in ("provisioned", *groups)}))
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
    told = [tmp_path / name for name in ("nas_mounts", "postgres_backup_share")]
    mounts, share = (json.loads(file.read_text()) if file.exists() else None for file in told)
    return mounts, share


def test_a_host_mounts_its_own_directory_of_the_share_beside_its_others(tmp_path: Path) -> None:
    mounts, share = played(tmp_path, provision_backup=NAS, provision_mounts=[MEDIA])
    assert mounts == [MEDIA, OWN]
    assert share == "/mnt/backup"


def test_without_a_share_nothing_of_it_is_mounted_and_nothing_backed_up(tmp_path: Path) -> None:
    assert played(tmp_path, provision_mounts=[MEDIA]) == ([MEDIA], "")


def test_a_share_that_is_mounted_otherwise_is_taken(tmp_path: Path) -> None:
    assert played(tmp_path, postgres_backup_share="/mnt/other") == ([], "/mnt/other")


def test_who_keeps_no_data_has_the_shares_that_it_names_and_none_for_backups(tmp_path: Path) -> None:
    """As a host that serves models from a NAS."""
    assert played(tmp_path, ["inference"], provision_backup=NAS, provision_mounts=[MEDIA]) == ([MEDIA], None)


def test_who_keeps_data_besides_loses_none_of_them(tmp_path: Path) -> None:
    """Each play of the role has to name all: what it does not name is unmounted."""
    groups = ["databases", "inference"]
    assert played(tmp_path, groups, provision_backup=NAS, provision_mounts=[MEDIA])[0] == [MEDIA, OWN]


def test_whoever_keeps_data_is_left_out_of_the_play_for_the_others() -> None:
    """A new role that keeps data is one more group there."""
    plays, problems = read_plays()
    assert not problems
    [others] = [play.hosts for play in plays if play.roles == ("nas_mounts",)]
    keepers = [play.hosts for play in plays if "backup" in play.roles]
    assert {f"provisioned:&{word.removeprefix('!')}" for word in str(others).split(":")[2:]} == set(keepers)
