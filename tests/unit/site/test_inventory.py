"""The inventory as Ansible itself reads it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from homelab_provision.doors.process import run
from homelab_provision.site.inventory import Inventory, read_inventory
from homelab_provision.site.loading import load_site
from homelab_provision.site.problems import SiteError
from tests.unit.site.sites import HOSTS, MACHINES, inventory_of

LAYERED = """\
all:
  vars: {a: all, b: all, c: all, d: all, e: all, f: all}
  children:
    outer:
      vars: {b: outer, c: outer, d: outer, e: outer, f: outer}
      children:
        inner:
          vars: {c: inner, d: inner, e: inner, f: inner}
          hosts:
            box: {f: box}
    aside:
      vars: {d: aside, b: aside}
      hosts: {box: }
    zebra:
      vars: {g: zebra}
      hosts: {box: , other: }
    ahead:
      vars: {g: ahead, ansible_group_priority: 5}
      hosts: {box: }
"""


def test_groups_of_a_host_are_those_above_its_own_too() -> None:
    inventory = inventory_of(LAYERED)
    assert set(inventory.groups_of("box")) == {"all", "outer", "inner", "aside", "zebra", "ahead"}
    assert inventory.hosts() == ("box", "other")


@pytest.mark.processes
def test_our_reading_agrees_with_ansible(tmp_path: Path) -> None:
    """Precedence of variables and membership, compared with what Ansible says about the host."""
    (tmp_path / "hosts.yml").write_text(LAYERED)
    files = {
        "group_vars/inner.yml": "d: inner file\n",
        "host_vars/box.yml": "f: box file\n",
        "group_vars/all/x.yml": "a: all file\n",
        "vault/secrets.yml": "a: secret\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    inventory = read_inventory(tmp_path)
    assert isinstance(inventory, Inventory)
    program = str(Path(sys.executable).parent / "ansible-inventory")
    said = run([program, "-i", str(tmp_path / "hosts.yml"), "--host", "box"], deadline=60)
    expected = json.loads(said.stdout)
    read = dict(inventory.variables("box"))
    assert {key: read[key] for key in "abcdefg"} == {key: expected[key] for key in "abcdefg"}
    assert {key: read[key] for key in "adfg"} == {"a": "all file", "d": "inner file", "f": "box file", "g": "ahead"}
    assert set(inventory.groups_of("box")) == {"all", "outer", "inner", "aside", "zebra", "ahead"}


@pytest.mark.processes
def test_our_stand_in_for_ansible_prints_what_ansible_prints(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(LAYERED)
    asked, stand_in = read_inventory(tmp_path), inventory_of(LAYERED)
    assert isinstance(asked, Inventory)
    for host in ("box", "other"):
        assert dict(asked.variables(host)) == dict(stand_in.variables(host))
        assert set(asked.groups_of(host)) == set(stand_in.groups_of(host))


@pytest.mark.processes
@pytest.mark.negative
def test_mistakes_in_both_files_are_shown_at_once(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(HOSTS.replace("192.168.50.11", "192.168.50.10"))
    (tmp_path / "machines.yml").write_text(MACHINES.replace("serial: AAA0001", "serail: AAA0001"))
    with pytest.raises(SiteError) as caught:
        load_site(tmp_path)
    found = [(problem.file, problem.line) for problem in caught.value.problems]
    assert found == [("hosts.yml", 8), ("machines.yml", 5)]


@pytest.mark.processes
@pytest.mark.negative
def test_what_ansible_refuses_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all:\n  hosts:\n    web[1:]:\n")
    (tmp_path / "machines.yml").write_text(MACHINES)
    with pytest.raises(SiteError, match="Ansible cannot read the inventory") as caught:
        load_site(tmp_path)
    assert caught.value.problems[0].line >= 1
    assert "Traceback" not in caught.value.message


@pytest.mark.processes
@pytest.mark.negative
def test_variables_that_cannot_be_read_are_shown_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "machines.yml").write_text(MACHINES)
    (tmp_path / "group_vars/all").mkdir(parents=True)
    (tmp_path / "group_vars/all/good.yml").write_text("a: 1\n")
    (tmp_path / "group_vars/all/secret.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n3030\n")
    (tmp_path / "group_vars/provisioned.yml").write_text("a: {b: 1\nc: 2\n")
    with pytest.raises(SiteError) as caught:
        load_site(tmp_path)
    assert [(problem.file, problem.line) for problem in caught.value.problems] == [
        ("group_vars/all/secret.yml", 1),
        ("group_vars/provisioned.yml", 2),
    ]
    assert "no vault password" in caught.value.message


@pytest.mark.negative
def test_a_hosts_file_that_is_no_yaml_is_not_given_to_ansible(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all:\n  hosts: [\n")
    (tmp_path / "machines.yml").write_text(MACHINES.replace("serial: AAA0001", "serail: AAA0001"))
    with pytest.raises(SiteError) as caught:
        load_site(tmp_path)
    assert [problem.file for problem in caught.value.problems] == ["hosts.yml", "machines.yml"]
    assert "not YAML" in caught.value.problems[0].message


@pytest.mark.negative
def test_a_directory_that_is_no_site(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="no such directory"):
        load_site(tmp_path / "nowhere")
    with pytest.raises(SiteError) as caught:
        load_site(tmp_path)
    assert [problem.file for problem in caught.value.problems] == ["hosts.yml", "machines.yml"]
